"""The processor: its architecture and instruction sets, and the cores that this process may use."""

import math
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from ctonnx.system.procfs import ROOT, control_groups, first_line, read_lines
from ctonnx.system.text import counted

__all__ = ["Processor", "architecture", "available_cores", "check_threads", "has_amx", "has_vnni", "processor"]

_MOST_THREADS = 64  # accepted on any machine
_ARCHITECTURES = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm"}
_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "sve", "bf16",
)  # fmt: skip
_SYSCTLS = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
}


def architecture(name: str | None = None) -> str:
    """Returns the architecture, from the system's name for it: `x86`, `arm` (export targets), or that name."""
    name = (platform.machine() if name is None else name).lower()
    return _ARCHITECTURES.get(name, name or "unknown")


def available_cores(root: Path = ROOT) -> int:
    """Returns the number of cores available to this process, at least 1.

    It is the minimum of the CPU affinity and of the CPU time that the control groups allow, rounded up. A container
    limited to half a core of a host with 64 would otherwise start 64 threads that wait for each other.

    Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`),
    https://docs.kernel.org/scheduler/sched-bwc.html (`cpu.cfs_quota_us`).
    """
    limits = [float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    for folder, version in control_groups(root, "cpu"):
        if version == 2:
            quota, _, period = first_line(folder / "cpu.max").partition(" ")
        else:
            quota, period = first_line(folder / "cpu.cfs_quota_us"), first_line(folder / "cpu.cfs_period_us")
        if all(text.strip().isdigit() and int(text) > 0 for text in (quota, period)):  # else no limit, or unreadable
            limits.append(int(quota) / int(period))
    return max(1, math.ceil(min(limits)))


def check_threads(threads: int | None) -> None:
    """Raises an error if a number of threads, unless None, is useless on any machine and could exhaust its memory.

    Raises:
        ValueError: If it is below 1, or above both 64 and the number of the machine's cores.
    """
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"expected at least 1 thread, found {threads}")
    most = max(_MOST_THREADS, os.cpu_count() or 1)
    if threads > most:
        raise ValueError(
            f"expected at most {most} threads, found {threads}; this process may use "
            f"{counted(available_cores(), 'core')}, and as many threads are the default"
        )


@dataclass(frozen=True)
class Processor:
    """A processor, as described by the operating system.

    Attributes:
        model: Name; None if unknown.
        features: Instruction sets that matter for inference, by their names on Linux; None if unknown.
    """

    model: str | None
    features: frozenset[str] | None


def processor(root: Path = ROOT) -> Processor:
    """Returns the processor's name and features."""
    if sys.platform == "darwin":
        return _mac_processor()
    if not (root / "proc/cpuinfo").is_file():
        return Processor(platform.processor() or None, None)  # Windows has the name and not the features
    facts: dict[str, str] = {}
    for line in read_lines(root / "proc/cpuinfo"):
        if not line.strip() and facts:
            break  # all cores are alike
        name, _, value = line.partition(":")
        facts[name.strip()] = value.strip()
    # An Arm board has its name in the device tree.
    model = facts.get("model name") or first_line(root / "proc/device-tree/model").strip("\0") or None
    words = facts.get("flags") or facts.get("Features")
    return Processor(model, None if words is None else frozenset(_FEATURES).intersection(words.split()))


def has_amx(root: Path = ROOT) -> bool:
    """Returns whether the processor is known to have instructions for 8-bit integer matrices (Intel's AMX)."""
    return "amx_int8" in (processor(root).features or ())


def has_vnni(root: Path = ROOT) -> bool | None:
    """Returns whether this x86 processor adds products of 8-bit integers without a 16-bit sum, which saturates.

    None means unknown. Other architectures do not need it: False.
    """
    if architecture() != "x86":
        return False
    features = processor(root).features
    return None if features is None else bool(features & {"avx512_vnni", "avx_vnni", "amx_int8"})


def _mac_processor() -> Processor:
    lines = _sysctl("machdep.cpu.brand_string", *_SYSCTLS).splitlines()
    values = dict(line.split(": ", 1) for line in lines if ": " in line)
    found = frozenset(feature for name, feature in _SYSCTLS.items() if values.get(name) == "1")
    return Processor(values.get("machdep.cpu.brand_string"), found if values else None)


def _sysctl(*names: str) -> str:
    """Returns the output of sysctl on macOS, a `name: value` on each line, or nothing."""
    import subprocess  # inside, as only macOS needs it

    command = ["/usr/sbin/sysctl", *names]
    try:  # not checked: the exit code is not 0 if one name is unknown; the others are printed
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
