"""What a machine tells of itself while something is timed: memory, energy, and whether it was slowed down."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.system.procfs import control_groups

__all__ = ["Gpu", "Reading", "joules_between", "others_between", "peak_memory", "read_sensors", "slowdowns_between"]

_ROOT = Path("/")
_TICK_S = 0.01  # of the system's count of processor time, on each core: what a share may be wrong by
_BAD_CLOCKS = {0x8: "hardware slowdown", 0x20: "software thermal", 0x40: "hardware thermal", 0x80: "power brake"}
"""NVML's reasons for lowered clocks that are faults; an idle GPU and its power limit are none (nvml.h)."""


@dataclass(frozen=True)
class Reading:
    """The sensors at one moment.

    Attributes:
        joules: Counted so far, by the sensor's name; RAPL's `package-0` and so on count a whole processor, NVML's `gpu`
            the whole GPU.
        wraps: of each RAPL sensor, where its count begins again.
        slowdowns: how often each cause has slowed the machine down so far.
        slow_now: what slows it down at this moment.
        busy_s: Processor seconds that all programs have had, on the cores that this process may use.
        own_s: of these, what this process had.
        wall_s: The clock.
        cores: that this process may use.
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
    """The GPU through NVML (the package `nvidia-ml-py`), where there is one and it can be asked.

    It is the first of CUDA_VISIBLE_DEVICES. Where GPUs of several models are in one machine, CUDA counts as NVML does
    only with CUDA_DEVICE_ORDER=PCI_BUS_ID.

    Args:
        nvml: The module `pynvml`; None where it is not installed.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handle: Any = None
        if nvml is not None:
            try:
                nvml.nvmlInit()
                first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
                by_name = first.startswith(("GPU-", "MIG-"))
                self._handle = (
                    nvml.nvmlDeviceGetHandleByUUID(first)
                    if by_name
                    else nvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdigit() else 0)
                )
            except nvml.NVMLError:
                self._handle = None

    @classmethod
    def here(cls) -> "Gpu":
        """Returns this machine's."""
        try:
            import pynvml
        except ModuleNotFoundError:
            return cls(None)
        return cls(pynvml)

    @property
    def name(self) -> str | None:
        """What it is called; None where there is none."""
        found = self._ask("nvmlDeviceGetName")
        return found.decode() if isinstance(found, bytes) else found

    @property
    def used_bytes(self) -> int | None:
        """Of its memory, by whoever uses it; in a container NVML does not know which process is which."""
        found = self._ask("nvmlDeviceGetMemoryInfo")
        return None if found is None else int(found.used)

    @property
    def joules(self) -> float | None:
        """Since the driver was loaded."""
        found = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if found is None else found / 1e3

    @property
    def slowdowns(self) -> tuple[str, ...]:
        """Why its clocks are lowered at this moment, as far as that is a fault."""
        bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        return tuple(reason for bit, reason in _BAD_CLOCKS.items() if bits & bit)

    def _ask(self, question: str) -> Any:
        if self._handle is None:
            return None
        try:
            return getattr(self._nvml, question)(self._handle)
        except self._nvml.NVMLError:  # what an older GPU does not count
            return None


def read_sensors(gpu: Gpu, root: Path = _ROOT) -> Reading:
    """Returns what can be read at this moment, which may be nothing.

    Sources: https://docs.kernel.org/power/powercap/powercap.html (RAPL; newer kernels let root alone read it),
    https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.stat`).

    Args:
        gpu: to ask too.
        root: where /sys is.
    """
    joules, wraps = dict[str, float](), dict[str, float]()
    for zone in sorted((root / "sys/class/powercap").glob("*-rapl:*")):
        name = _text(zone / "name")  # beside packages there is psys, the whole machine, which counts them again
        if name.startswith("package") and (count := _number(zone / "energy_uj")) is not None:
            joules[name] = count / 1e6
            wraps[name] = (_number(zone / "max_energy_range_uj") or 0) / 1e6
    if gpu.joules is not None:
        joules["gpu"] = gpu.joules
    slow_now = tuple(f"the GPU lowered its clocks ({reason})" for reason in gpu.slowdowns)
    return Reading(joules, wraps, dict(_slowdowns(root)), slow_now, *_processor_time())


def joules_between(before: Reading, after: Reading) -> dict[str, float]:
    """Returns what each sensor counted from one moment to the other."""
    found = {}
    for name, count in after.joules.items():
        if name in before.joules:
            spent = count - before.joules[name]
            found[name] = spent + before.wraps.get(name, 0.0) if spent < 0 else spent
    return found


def others_between(before: Reading, after: Reading) -> float:
    """Returns the share of this process's cores that other programs took from one moment to the other, 0 to 1.

    It is at least so much: the system counts in hundredths of a second, and one on each core is taken off.
    """
    there = (after.wall_s - before.wall_s) * after.cores
    others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s) - _TICK_S * after.cores
    return min(1.0, max(0.0, others) / there) if there > 0 else 0.0


def slowdowns_between(before: Reading, after: Reading) -> list[str]:
    """Returns what slowed the machine down from one moment to the other, or throughout."""
    counted = [name for name, count in after.slowdowns.items() if count > before.slowdowns.get(name, 0)]
    return list(dict.fromkeys([*counted, *before.slow_now, *after.slow_now]))


def peak_memory(root: Path = _ROOT) -> int | None:
    """Returns this process's greatest resident memory so far, in bytes; None where the system does not tell.

    Linux's `ru_maxrss` is not taken: it begins with that of the program that started this one.
    """
    for line in _text(root / "proc/self/status").splitlines():
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
        lines = _text(folder / "cpu.stat").splitlines()
        reached += sum(int(line.split()[1]) for line in lines if line.startswith("nr_throttled "))
    yield "the container's limit of CPU time was reached", reached


def _processor_time() -> tuple[float, float, float, int]:
    """Returns the processor seconds of all programs and of this process, the clock, and the cores that both share."""
    import psutil

    of_cores = psutil.cpu_times(percpu=True)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(of_cores))
    of_cores = [of_cores[number] for number in allowed if number < len(of_cores)]
    waiting = ("idle", "iowait", "guest", "guest_nice")  # the last two stand in user's and nice's too
    busy = sum(value for times in of_cores for name, value in times._asdict().items() if name not in waiting)
    return busy, time.process_time(), time.perf_counter(), max(1, len(of_cores))


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
