"""What this machine has, and how much of it the process may use: cores, memory, processor features, NVIDIA's driver."""

import math
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "Driver",
    "Gpu",
    "Processor",
    "architecture",
    "available_cores",
    "check_threads",
    "control_groups",
    "file_system",
    "has_amx",
    "has_nvidia_device",
    "has_vnni",
    "memory_limit",
    "nvidia_driver",
    "processor",
]

_ROOT = Path("/")
_MOST_THREADS = 64  # that may be asked for on any machine
_ARCHITECTURES = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm"}
_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "sve", "bf16",
)  # fmt: skip
_COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_SYSCTLS = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}


def architecture(name: str | None = None) -> str:
    """Returns what kind of processor this is: `x86`, `arm`, or the system's own name for another.

    The first two are targets of `ctonnx export --target`.

    Args:
        name: the system's for the processor; None asks it.
    """
    name = (platform.machine() if name is None else name).lower()
    return _ARCHITECTURES.get(name, name or "unknown")


def available_cores(root: Path = _ROOT) -> int:
    """Returns how many cores this process may use, at least 1: not how many the host has.

    The least of its CPU affinity and of the CPU time that its control groups allow, rounded up. A container that is
    given half a core on a host with 64 would else start 64 threads, which wait for each other.

    Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`),
    https://docs.kernel.org/scheduler/sched-bwc.html (`cpu.cfs_quota_us`).

    Args:
        root: where /proc and /sys are.
    """
    allowed = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)
    limits = [allowed]
    for folder, version in control_groups(root, "cpu"):
        if version == 2:
            quota, _, period = _first_line(folder / "cpu.max").partition(" ")
        else:
            quota, period = _first_line(folder / "cpu.cfs_quota_us"), _first_line(folder / "cpu.cfs_period_us")
        limits += _ratio(quota, period)
    return max(1, math.ceil(min(limits)))


def check_threads(threads: int | None) -> None:
    """Refuses a number of threads that no machine gains by, and that may take one's last memory.

    Args:
        threads: as asked for; None is what `available_cores` gives.

    Raises:
        ValueError: below 1, or above both 64 and the number of this machine's cores.
    """
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"expected at least 1 thread, found {threads}")
    most = max(_MOST_THREADS, os.cpu_count() or 1)
    if threads > most:
        cores = available_cores()
        named = "1 core" if cores == 1 else f"{cores} cores"
        raise ValueError(
            f"expected at most {most} threads, found {threads}; this process may use {named}, and as many threads are "
            "the default"
        )


def memory_limit(root: Path = _ROOT) -> int | None:
    """Returns how many bytes of memory this process may use: the machine's, or what its control groups allow.

    Args:
        root: where /proc and /sys are.

    Returns:
        None where the system does not tell.
    """
    limits = [int(line.split()[1]) * 1024 for line in _lines(root / "proc/meminfo")[:1] if line.startswith("MemTotal:")]
    for folder, version in control_groups(root, "memory"):
        limit = _first_line(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        limits += [int(limit)] if limit.isdigit() else []
    return min(limits, default=None)


# --- the processor ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Processor:
    """A processor, as far as the system tells.

    Attributes:
        model: its name; None where it is unknown.
        features: of those that matter here, the ones it has, by their names on Linux; None where they are unknown.
    """

    model: str | None
    features: frozenset[str] | None


def processor(root: Path = _ROOT) -> Processor:
    """Returns the processor's name and features.

    Args:
        root: where /proc is.
    """
    if sys.platform == "darwin":
        return _mac_processor()
    if not (root / "proc/cpuinfo").is_file():
        return Processor(platform.processor() or None, None)  # Windows names its processor and not its features
    facts: dict[str, str] = {}
    for line in _lines(root / "proc/cpuinfo"):
        if not line.strip() and facts:
            break  # the first core's facts are the others' too
        name, _, value = line.partition(":")
        facts[name.strip()] = value.strip()
    # A board with an arm processor has its name in the device tree.
    model = facts.get("model name") or _first_line(root / "proc/device-tree/model").strip("\0") or None
    words = facts.get("flags") or facts.get("Features")
    return Processor(model, None if words is None else frozenset(_FEATURES).intersection(words.split()))


def has_amx(root: Path = _ROOT) -> bool:
    """Says whether this processor is known to multiply matrices of 8-bit integers in one instruction (Intel's AMX).

    Args:
        root: where /proc is.
    """
    return "amx_int8" in (processor(root).features or ())


def has_vnni(root: Path = _ROOT) -> bool | None:
    """Says whether this processor multiplies 8-bit integers without a 16-bit sum between them, which saturates.

    Args:
        root: where /proc is.

    Returns:
        None where the system does not tell; False on anything that is no x86, which needs no such thing.
    """
    if architecture() != "x86":
        return False
    features = processor(root).features
    return None if features is None else bool(features & {"avx512_vnni", "avx_vnni", "amx_int8"})


def _mac_processor() -> Processor:
    values = dict(
        line.split(": ", 1) for line in _sysctl("machdep.cpu.brand_string", *_SYSCTLS).splitlines() if ": " in line
    )
    found = frozenset(feature for name, feature in _SYSCTLS.items() if values.get(name) == "1")
    return Processor(values.get("machdep.cpu.brand_string"), found if values else None)


# --- NVIDIA ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        name: of the model.
        compute: the compute capability, as in `9.0`.
    """

    name: str
    compute: str


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver, as its own library answers.

    Attributes:
        cuda: the newest CUDA that it runs, as (major, minor).
        gpus: those that this process may use, in CUDA's order.
    """

    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


def nvidia_driver(load: Callable[[str], Any] | None = None) -> Driver | None:
    """Returns what the CUDA driver says of itself, or None where its library is not there.

    Source: https://docs.nvidia.com/cuda/cuda-driver-api/ (`cuDriverGetVersion`, `cuInit`, `cuDeviceGetCount`,
    `cuDeviceGetName`, `cuDeviceGetAttribute`).

    Args:
        load: opens a library by its name; None is `ctypes.CDLL`.
    """
    import ctypes  # here, as `ctonnx predict --help` asks no driver

    try:
        library = (load or ctypes.CDLL)("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(version))
    if library.cuInit(0) == 0:
        library.cuDeviceGetCount(ctypes.byref(count))
    gpus = tuple(_gpu(library, number) for number in range(count.value))
    return Driver((version.value // 1000, version.value % 1000 // 10), gpus)


def _gpu(library: Any, number: int) -> Gpu:
    import ctypes

    name = ctypes.create_string_buffer(256)
    library.cuDeviceGetName(name, len(name), number)
    capability = []
    for attribute in _COMPUTE_CAPABILITY:
        value = ctypes.c_int(0)
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, number)
        capability.append(str(value.value))
    return Gpu(name.value.decode(errors="replace"), ".".join(capability))


def has_nvidia_device(root: Path = _ROOT) -> bool | None:
    """Says whether an NVIDIA GPU is in this machine, with a driver or without.

    Args:
        root: where /proc, /sys and /dev are.

    Returns:
        None where the system does not tell.
    """
    if "nvidia,tegra" in _first_line(root / "proc/device-tree/compatible"):
        return True  # a Jetson's GPU is on the chip, not on the bus
    devices = root / "sys/bus/pci/devices"
    if (root / "dev/dxg").exists() or not devices.is_dir():
        return None  # WSL shows its GPU through another door
    return any(
        _first_line(device / "vendor") == "0x10de" and _first_line(device / "class").startswith("0x03")
        for device in devices.iterdir()
    )


def file_system(path: Path, root: Path = _ROOT) -> str | None:
    """Returns the kind of file system that a path is on, as `ext4` or `nfs4`, or None where the system does not tell.

    Source: https://docs.kernel.org/filesystems/proc.html (`/proc/<pid>/mountinfo`).

    Args:
        path: of a file or folder; where it does not exist, of its nearest folder.
        root: where /proc is.
    """
    mounted: dict[Path, str] = {}
    for line in _lines(root / "proc/self/mountinfo"):
        place, _, kind = line.partition(" - ")
        words = place.split()
        if len(words) > 4 and kind:
            mounted[Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), words[4]))] = kind.split()[0]
    resolved = path.resolve()
    return next((mounted[folder] for folder in (resolved, *resolved.parents) if folder in mounted), None)


# --- what the system's files say -------------------------------------------------------------------------------------


def control_groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Yields the folder of each control group of this process and of each one above it, and the groups' version.

    Args:
        root: where /proc and /sys are.
        controller: of which the folders of version 1 are; version 2 has the same ones for all.
    """
    mounted = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, group = line.split(":", 2)
        if number == "0" and not controllers:
            yield from ((folder, 2) for folder in _upwards(mounted, group))
        elif controller in controllers.split(","):
            yield from ((folder, 1) for folder in _upwards(mounted / controller, group))


def _upwards(mounted: Path, group: str) -> Iterator[Path]:
    """Yields a group's folder and those above it; in a container the group's own path may not be there."""
    folder = mounted / group.lstrip("/")
    while folder != mounted and mounted in folder.parents:
        yield folder
        folder = folder.parent
    yield mounted


def _ratio(quota: str, period: str) -> Sequence[float]:
    """Returns quota / period, or nothing where there is no limit or it cannot be read."""
    if quota.strip().isdigit() and period.strip().isdigit() and int(quota) > 0 and int(period) > 0:
        return [int(quota) / int(period)]
    return []


def _first_line(file: Path) -> str:
    return next(iter(_lines(file)), "")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _sysctl(*names: str) -> str:
    """Returns what macOS says of its processor, a `name: value` on each line, or nothing."""
    import subprocess  # here, as no other system asks a program, and a prediction should not wait for it

    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", *names], capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout  # it fails where this processor does not know one of the names, and tells of the others
