"""Sensors of the machine: memory, energy, processor time, and causes that slow it down."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.system.procfs import control_groups, first_line, read_lines

__all__ = ["Gpu", "Reading", "joules_between", "others_between", "peak_memory", "read_sensors", "slowdowns_between"]

_ROOT = Path("/")
_TICK_S = 0.01  # resolution of the system's processor time, on each core
_BAD_CLOCKS = {0x8: "hardware slowdown", 0x20: "software thermal", 0x40: "hardware thermal", 0x80: "power brake"}
"""NVML's reasons for lowered clocks that are faults; an idle GPU and its power limit are not (nvml.h)."""


@dataclass(frozen=True)
class Reading:
    """Reading of all sensors.

    Attributes:
        joules: Counters by the sensor's name; RAPL's `package-0` and so on measure a whole processor, NVML's `gpu` the
            whole GPU.
        wraps: Value at which each RAPL counter restarts from 0.
        slowdowns: Number of slowdowns so far, by cause.
        slow_now: Causes that are slowing the machine down now.
        busy_s: Processor seconds of all programs so far, on the cores available to this process.
        own_s: Processor seconds of this process.
        wall_s: Clock.
        cores: Number of cores available to this process.
    """

    joules: Mapping[str, float]
    wraps: Mapping[str, float]
    slowdowns: Mapping[str, int]
    slow_now: tuple[str, ...] = ()
    busy_s: float = 0.0
    own_s: float = 0.0
    wall_s: float = 0.0
    cores: int = 1


class Gpu:
    """The first GPU of CUDA_VISIBLE_DEVICES, read through NVML (the package `nvidia-ml-py`) if both are present.

    On a machine with different GPUs, CUDA numbers them as NVML does only with CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handle: Any = None
        if nvml is not None:
            with suppress(nvml.NVMLError):
                nvml.nvmlInit()
                first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
                by_name = first.startswith(("GPU-", "MIG-"))
                self._handle = (
                    nvml.nvmlDeviceGetHandleByUUID(first)
                    if by_name
                    else nvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdigit() else 0)
                )

    @classmethod
    def here(cls) -> "Gpu":
        """Returns this machine's GPU."""
        try:
            import pynvml
        except ModuleNotFoundError:
            return cls(None)
        return cls(pynvml)

    @property
    def name(self) -> str | None:
        """Name of the GPU; None without one."""
        found = self._query("nvmlDeviceGetName")
        return found.decode() if isinstance(found, bytes) else found

    @property
    def used_bytes(self) -> int | None:
        """Used memory of all processes: in a container NVML cannot assign it to processes."""
        found = self._query("nvmlDeviceGetMemoryInfo")
        return None if found is None else int(found.used)

    @property
    def busy_share(self) -> float | None:
        """Share of NVML's last sample, 1/6 to 1 second, in which a kernel was running, 0 to 1."""
        found = self._query("nvmlDeviceGetUtilizationRates")
        return None if found is None else found.gpu / 100

    @property
    def driver(self) -> str | None:
        """Version of NVIDIA's driver; None without a GPU."""
        if self._handle is None:
            return None
        found = self._nvml.nvmlSystemGetDriverVersion()
        return found.decode() if isinstance(found, bytes) else str(found)

    @property
    def joules(self) -> float | None:
        """Energy since the driver was loaded."""
        found = self._query("nvmlDeviceGetTotalEnergyConsumption")
        return None if found is None else found / 1e3

    @property
    def slowdowns(self) -> tuple[str, ...]:
        """Faults that lower its clocks now."""
        bits = self._query("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        return tuple(reason for bit, reason in _BAD_CLOCKS.items() if bits & bit)

    def _query(self, function: str) -> Any:
        if self._handle is None:
            return None
        try:
            return getattr(self._nvml, function)(self._handle)
        except self._nvml.NVMLError:  # not supported by an older GPU
            return None


def read_sensors(gpu: Gpu, root: Path = _ROOT) -> Reading:
    """Reads the sensors that this machine has.

    Sources: https://docs.kernel.org/power/powercap/powercap.html (RAPL; on newer kernels only root may read it),
    https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.stat`).
    """
    joules, wraps = dict[str, float](), dict[str, float]()
    for zone in sorted((root / "sys/class/powercap").glob("*-rapl:*")):
        name = first_line(zone / "name")  # psys, the whole machine, would count the packages twice
        if name.startswith("package") and (count := _number(zone / "energy_uj")) is not None:
            joules[name] = count / 1e6
            wraps[name] = (_number(zone / "max_energy_range_uj") or 0) / 1e6
    if gpu.joules is not None:
        joules["gpu"] = gpu.joules
    slow_now = tuple(f"the GPU lowered its clocks ({reason})" for reason in gpu.slowdowns)
    return Reading(joules, wraps, dict(_slowdowns(root)), slow_now, *_processor_time())


def joules_between(before: Reading, after: Reading) -> dict[str, float]:
    """Returns the energy of each sensor between two readings."""
    found = {}
    for name, count in after.joules.items():
        if name in before.joules:
            spent = count - before.joules[name]
            found[name] = spent + before.wraps.get(name, 0.0) if spent < 0 else spent
    return found


def others_between(before: Reading, after: Reading) -> float:
    """Returns the share of this process's cores that other programs used between two readings, 0 to 1.

    This is a lower bound: the system counts in hundredths of a second, and one is subtracted for each core.
    """
    available = (after.wall_s - before.wall_s) * after.cores
    others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s) - _TICK_S * after.cores
    return min(1.0, max(0.0, others) / available) if available > 0 else 0.0


def slowdowns_between(before: Reading, after: Reading) -> list[str]:
    """Returns the causes that slowed the machine down at or between two readings."""
    counted = [name for name, count in after.slowdowns.items() if count > before.slowdowns.get(name, 0)]
    return list(dict.fromkeys([*counted, *before.slow_now, *after.slow_now]))


def peak_memory(root: Path = _ROOT) -> int:
    """Returns this process's peak resident memory in bytes.

    Linux's `ru_maxrss` is not used: it begins with that of the program that started this process.
    """
    for line in read_lines(root / "proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _slowdowns(root: Path) -> Iterator[tuple[str, int]]:
    heat = [_number(file) or 0 for file in root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")]
    if heat:
        yield "the processor was too hot", sum(heat)
    reached = 0
    for folder, _ in control_groups(root, "cpu"):
        lines = read_lines(folder / "cpu.stat")
        reached += sum(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))
    yield "the container's limit of CPU time was reached", reached


def _processor_time() -> tuple[float, float, float, int]:
    """Returns the processor seconds of all programs and of this process, the clock, and the number of cores."""
    import psutil

    of_cores = psutil.cpu_times(percpu=True)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(of_cores))
    of_cores = [of_cores[number] for number in allowed if number < len(of_cores)]
    waiting = ("idle", "iowait", "guest", "guest_nice")  # user and nice include the last two
    busy = sum(value for times in of_cores for name, value in times._asdict().items() if name not in waiting)
    return busy, time.process_time(), time.perf_counter(), max(1, len(of_cores))


def _number(file: Path) -> int | None:
    text = first_line(file)
    return int(text) if text.isdigit() else None
