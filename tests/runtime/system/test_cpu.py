"""The cores of a process are limited by its affinity and container; unknown properties of the processor are None."""

import os
import platform
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.runtime.system.linux_files import write

from ctonnx.cli.main import main
from ctonnx.system import cpu
from ctonnx.system.cpu import Processor, architecture, available_cores, check_threads, has_amx, has_vnni, processor


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose affinity allows 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    return tmp_path


def test_only_the_affinity_counts_without_groups(root: Path) -> None:
    assert available_cores(root) == 16


def test_all_cores_count_on_a_system_without_affinity(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores(root) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores(root) == 1


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", 16),
        ("400000 100000", 4),
        ("150000 100000", 2),
        ("20000 100000", 1),
        ("9900000 100000", 16),
        ("0 100000", 16),
        ("100000 0", 16),
        ("what is this", 16),
        ("", 16),
    ],
)
def test_group_of_version_2_limits_the_cores(limit: str, expected: int, root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/\n")
    write(root / "sys/fs/cgroup/cpu.max", f"{limit}\n")
    assert available_cores(root) == expected


def test_group_above_limits_those_in_it(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/pod/container/scope\n")
    write(root / "sys/fs/cgroup/pod/cpu.max", "300000 100000\n")
    write(root / "sys/fs/cgroup/pod/container/cpu.max", "max 100000\n")
    write(root / "sys/fs/cgroup/pod/container/scope/cpu.max", "500000 100000\n")
    assert available_cores(root) == 3


def test_container_that_sees_its_group_as_the_root_is_limited(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/../../machine/that/is/not/mounted\n")
    write(root / "sys/fs/cgroup/cpu.max", "200000 100000\n")
    assert available_cores(root) == 2


@pytest.mark.parametrize(("quota", "expected"), [("-1", 16), ("250000", 3)])
def test_group_of_version_1_limits_the_cores(quota: str, expected: int, root: Path) -> None:
    write(root / "proc/self/cgroup", "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")
    write(root / "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", f"{quota}\n")
    write(root / "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n")
    assert available_cores(root) == expected


def test_this_machine_has_a_core() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tell which cores are allowed")
def test_cores_are_those_of_the_affinity_of_this_process() -> None:
    allowed = os.sched_getaffinity(0)
    assert available_cores() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


# --- the processor ---------------------------------------------------------------------------------------------------

XEON = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n\nprocessor\t: 1\n"
OLD = "processor\t: 0\nmodel name\t: Core\nflags\t\t: fpu sse4_1 avx2 avx512f\n\n"
ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd asimddp i8mm\n\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x86_64", "x86"),
        ("AMD64", "x86"),
        ("aarch64", "arm"),
        ("arm64", "arm"),
        ("riscv64", "riscv64"),
        ("", "unknown"),
    ],
)
def test_architecture_is_a_target_of_export(name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)
    assert architecture() == architecture(name) == expected


@pytest.mark.parametrize(
    ("system", "text", "name", "features", "vnni"),
    [
        ("x86_64", XEON, "Xeon", {"avx2", "avx512f", "avx512_vnni", "amx_int8"}, True),
        ("x86_64", OLD, "Core", {"avx2", "avx512f"}, False),
        ("x86_64", OLD.replace("sse4_1", "avx_vnni"), "Core", {"avx2", "avx512f", "avx_vnni"}, True),
        ("x86_64", "processor\t: 0\n", None, None, None),
        ("aarch64", ARM, "Raspberry Pi 5", {"asimddp", "i8mm"}, False),
    ],
)
def test_processor_is_read_from_linux(
    system: str,
    text: str,
    name: str | None,
    features: set[str] | None,
    vnni: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: system)
    monkeypatch.setattr(sys, "platform", "linux")
    write(tmp_path / "proc/cpuinfo", text)
    if system == "aarch64":
        write(tmp_path / "proc/device-tree/model", "Raspberry Pi 5\0")
    assert processor(tmp_path) == Processor(name, None if features is None else frozenset(features))
    assert has_vnni(tmp_path) is vnni
    assert has_amx(tmp_path) is (features is not None and "amx_int8" in features)


def test_processor_of_windows_has_a_name_and_unknown_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6")
    monkeypatch.setattr(sys, "platform", "win32")
    assert processor(tmp_path) == Processor("Intel64 Family 6", None)
    assert has_vnni(tmp_path) is None
    assert has_amx(tmp_path) is False


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "machdep.cpu.brand_string: Apple M4\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_I8MM: 1\n",
            Processor("Apple M4", frozenset({"asimddp", "i8mm"})),
        ),
        (
            "machdep.cpu.brand_string: Intel\nhw.optional.avx2_0: 1\nhw.optional.avx512f: 0\n",
            Processor("Intel", frozenset({"avx2"})),
        ),
        ("", Processor(None, None)),
    ],
)
def test_processor_of_macos_is_read_from_sysctl(
    output: str, expected: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(cpu, "_sysctl", lambda *names: output)
    assert processor() == expected


def test_system_other_than_macos_has_no_such_sysctl() -> None:
    assert sys.platform == "darwin" or cpu._sysctl("machdep.cpu.brand_string") == ""


# --- threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cores", "most"), [(None, 64), (2, 64), (64, 64), (96, 96)])
def test_threads_are_at_most_64_or_the_machines_cores(
    cores: int | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr("ctonnx.system.cpu.available_cores", lambda: 1)
    for threads in (None, 1, most):
        check_threads(threads)
    with pytest.raises(ValueError, match=r"^expected at least 1 thread, found 0$"):
        check_threads(0)
    with pytest.raises(ValueError, match=rf"^expected at most {most} threads, found {most + 1}; .* may use 1 core, "):
        check_threads(most + 1)


@pytest.mark.parametrize("command", ["predict", "verify", "serve", "bench"])
def test_every_command_with_threads_rejects_too_many(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--threads", "1000000"])
    assert result.exit_code == 2
    assert "Invalid value for '--threads': expected at most " in result.stderr
