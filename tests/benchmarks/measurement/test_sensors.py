"""The sensors: RAPL's and NVML's energy, memory, and causes that slow a machine down."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctonnx_bench.measurement.sensors import (
    Gpu,
    Reading,
    joules_between,
    others_between,
    peak_memory,
    read_sensors,
    slowdowns_between,
)


class FakeNvml:
    """A GPU that is hot, has no energy counter, and is found."""

    class NVMLError(Exception):
        pass

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index + 7

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return f"GPU {handle}".encode()

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=5_000_000)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=25)

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"590.1"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        raise self.NVMLError

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:  # noqa: N802
        return 0x1 | 0x40


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")


def test_rapl_counts_whole_processors_and_may_wrap(tmp_path: Path) -> None:
    zone, inner = "sys/class/powercap/intel-rapl:0", "sys/class/powercap/intel-rapl:0:0"
    write(tmp_path, {f"{zone}/name": "package-0\n", f"{zone}/energy_uj": "9000000\n"})
    write(tmp_path, {f"{zone}/max_energy_range_uj": "10000000\n", f"{inner}/energy_uj": "1\n"})
    whole = "sys/class/powercap/intel-rapl:1"
    write(tmp_path, {f"{whole}/name": "psys\n", f"{whole}/energy_uj": "5\n", f"{inner}/name": "core\n"})
    before = read_sensors(Gpu(None), tmp_path)
    assert before.joules == {"package-0": 9.0}
    write(tmp_path, {f"{zone}/energy_uj": "500000\n"})
    assert joules_between(before, read_sensors(Gpu(None), tmp_path)) == {"package-0": 1.5}


def test_throttling_of_the_processor_and_by_the_container_is_reported(tmp_path: Path) -> None:
    heat, stat = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "sys/fs/cgroup/pod/cpu.stat"
    write(tmp_path, {"proc/self/cgroup": "0::/pod/inner\n"})
    write(tmp_path, {heat: "3\n", stat: "usage_usec 5\nnr_throttled 2\n"})
    before = read_sensors(Gpu(None), tmp_path)
    assert slowdowns_between(before, read_sensors(Gpu(None), tmp_path)) == []
    write(tmp_path, {heat: "4\n", stat: "usage_usec 5\nnr_throttled 3\n"})
    assert slowdowns_between(before, read_sensors(Gpu(None), tmp_path)) == [
        "the processor was too hot",
        "the container's limit of CPU time was reached",
    ]


def test_gpu_reports_the_sensors_that_it_has(tmp_path: Path) -> None:
    gpu = Gpu(FakeNvml())
    assert (gpu.name, gpu.used_bytes, gpu.joules, gpu.slowdowns) == ("GPU 7", 5_000_000, None, ("hardware thermal",))
    reading = read_sensors(gpu, tmp_path)
    assert reading.slow_now == ("the GPU lowered its clocks (hardware thermal)",)
    assert reading.joules == {}


def test_gpu_that_is_slow_before_after_or_throughout_is_reported(tmp_path: Path) -> None:
    hot, cool = read_sensors(Gpu(FakeNvml()), tmp_path), read_sensors(Gpu(None), tmp_path)
    causes = ["the GPU lowered its clocks (hardware thermal)"]
    assert slowdowns_between(hot, hot) == slowdowns_between(hot, cool) == slowdowns_between(cool, hot) == causes
    assert slowdowns_between(cool, cool) == []


@pytest.mark.parametrize(
    ("visible", "name"), [("", "GPU 7"), ("2,0", "GPU 9"), ("GPU-ab,GPU-cd", "GPU GPU-ab"), ("MIG-1", "GPU MIG-1")]
)
def test_gpu_is_the_first_that_cuda_may_use(monkeypatch: pytest.MonkeyPatch, visible: str, name: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert Gpu(FakeNvml()).name == name


def test_energy_of_a_gpu_is_counted_in_joules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeNvml, "nvmlDeviceGetTotalEnergyConsumption", lambda self, handle: 2500)
    assert read_sensors(Gpu(FakeNvml()), tmp_path).joules == {"gpu": 2.5}


def test_machine_without_a_gpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FakeNvml) -> None:
        raise FakeNvml.NVMLError

    monkeypatch.setattr(FakeNvml, "nvmlInit", fail)
    for gpu in (Gpu(None), Gpu(FakeNvml())):
        assert (gpu.name, gpu.used_bytes, gpu.joules, gpu.slowdowns) == (None, None, None, ())


def test_time_of_others_is_a_share_of_the_available_time() -> None:
    before = Reading({}, {}, {}, busy_s=10.0, own_s=1.0, wall_s=100.0, cores=2)
    after = Reading({}, {}, {}, busy_s=13.02, own_s=3.0, wall_s=102.0, cores=2)
    assert others_between(before, after) == pytest.approx(0.25)
    assert others_between(before, before) == 0


def test_time_of_others_in_a_short_while_is_reduced_by_the_clocks_resolution() -> None:
    before = Reading({}, {}, {}, cores=2)
    assert others_between(before, Reading({}, {}, {}, busy_s=0.07, own_s=0.03, wall_s=0.05, cores=2)) > 0.15
    assert others_between(before, Reading({}, {}, {}, busy_s=0.045, own_s=0.03, wall_s=0.05, cores=2)) == 0


def test_own_time_is_part_of_the_busy_time() -> None:
    reading = read_sensors(Gpu(None))
    assert reading.own_s > 0
    assert reading.busy_s > 0
    assert 1 <= reading.cores <= (os.cpu_count() or 1)


def test_cores_are_those_available_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert read_sensors(Gpu(None)).cores == 1


def test_peak_memory_is_this_process_own(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/status": "Name:\tpython\nVmHWM:\t   1000 kB\n"})
    assert peak_memory(tmp_path) == 1_024_000
    assert peak_memory() > 20_000_000
    assert peak_memory(tmp_path / "nothing") > 20_000_000


def test_use_and_driver_of_a_gpu_are_read_and_are_none_without_one() -> None:
    gpu = Gpu(FakeNvml())
    assert (gpu.busy_share, gpu.driver) == (0.25, "590.1")
    assert (Gpu(None).busy_share, Gpu(None).driver) == (None, None)
