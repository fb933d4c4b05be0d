"""The environment in a report."""

from pathlib import Path

import pytest

from ctonnx_bench.measurement import environment
from ctonnx_bench.measurement.environment import describe, differences
from ctonnx_bench.measurement.sensors import Gpu
from ctonnx_bench.measurement.without_amx import WITHOUT_AMX


def test_disabled_amx_is_not_a_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("model name\t: Xeon\nflags\t: avx2 amx_int8 amx_bf16\n")
    assert describe(tmp_path, Gpu(None))["features"] == ["amx_bf16", "amx_int8", "avx2"]
    monkeypatch.setenv(WITHOUT_AMX, "1")
    assert describe(tmp_path, Gpu(None))["features"] == ["avx2"]


def test_version_of_every_build_of_onnxruntime_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    builds = {"onnxruntime-openvino": "1.24.1", "ort-nightly": "1.32.0.dev1"}
    monkeypatch.setattr(environment, "installed_builds", lambda: builds)
    versions = describe()["versions"]
    assert builds.items() <= versions.items()
    assert "onnxruntime" not in versions


def test_processor_features_governor_and_limits_are_read(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "model name\t: Some CPU\nflags\t: fpu avx2 avx512_vnni\n\nmodel name: B\nflags: sve\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/fs/cgroup/memory.max": "5000000\n",
        "sys/fs/cgroup/cpu.max": "max 100000\n",
        "sys/fs/cgroup/pod/cpu.max": "50000 100000\n",
        "proc/self/cgroup": "0::/pod/inner\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    about = describe(tmp_path, Gpu(None))
    assert (about["cpu"], about["features"]) == ("Some CPU", ["avx2", "avx512_vnni"])
    assert (about["governor"], about["cpu_limit"]) == ("powersave", "50000 100000 us (pod)")
    assert (about["cores_allowed"], about["memory_bytes"], about["gpu"]) == (1, 5_000_000, None)


def test_this_machine_can_be_described() -> None:
    about = describe()
    assert about["cpu"]
    assert about["memory_bytes"] > 100_000_000
    assert {"ctonnx", "numpy", "onnxruntime"} <= set(about["versions"])


def test_differences_of_machines_are_reported() -> None:
    first = {"cpu": "A", "cores_allowed": 2, "versions": {"onnxruntime": "1.23", "torch": "2.11"}}
    second = {"cpu": "B", "cores_allowed": 2, "versions": {"onnxruntime": "1.24"}}
    assert differences(first, first) == []
    assert differences(first, second) == [
        "processor: A before; B now",
        "onnxruntime: 1.23 before; 1.24 now",
        "torch: 2.11 before; not installed now",
    ]
