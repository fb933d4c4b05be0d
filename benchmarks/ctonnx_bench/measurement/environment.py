"""What figures depend on and nobody remembers afterwards: the machine, its limits, its state and its versions."""

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from ctonnx.system.cpu import available_cores, processor
from ctonnx.system.memory import memory_limit
from ctonnx.system.packages import installed_builds, versions_of
from ctonnx.system.procfs import control_groups
from ctonnx_bench.measurement.sensors import Gpu
from ctonnx_bench.measurement.without_amx import REFUSED

__all__ = ["describe", "differences"]

# Modules whose versions are kept, beside onnxruntime's builds: what runs models, and what the peers are made of.
_RUNTIME = ("ctonnx", "numpy", "PIL")
_PEERS = ("torch", "torchvision", "openvino", "nncf", "transformers", "ultralytics")


def describe(root: Path = Path("/"), gpu: Gpu | None = None) -> dict[str, Any]:
    """Returns the environment.

    Args:
        root: where /proc and /sys are.
        gpu: to name; None looks for one.
    """
    about = processor(root)
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    is_refused = REFUSED in os.environ
    return {
        "cpu": about.model or platform.machine(),
        "architecture": platform.machine(),
        "features": sorted(feature for feature in about.features or () if not (is_refused and "amx" in feature)),
        "cores_of_the_host": os.cpu_count(),
        "cores_allowed": available_cores(root),
        "governor": _text(frequency / "scaling_governor"),
        "boost": _text(root / "sys/devices/system/cpu/cpufreq/boost"),
        "mhz_now": _mhz(),
        "memory_bytes": memory_limit(root),
        "cpu_limit": _cpu_limit(root),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": (gpu or Gpu.here()).name,
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads_set": {
            name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ
        },
        "versions": {**versions_of(_RUNTIME), **installed_builds(), **versions_of(_PEERS)},
    }


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Returns in what two environments differ that changes speed; nothing where they are alike."""
    names = {
        "cpu": "processor",
        "features": "processor features",
        "cores_allowed": "cores",
        "cpu_limit": "limit of CPU time",
        "memory_bytes": "memory",
        "gpu": "GPU",
        "governor": "governor",
        "python": "Python",
    }
    found = [
        f"{said}: {_shown(first.get(name))} before; {_shown(second.get(name))} now"
        for name, said in names.items()
        if first.get(name) != second.get(name)
    ]
    versions = first.get("versions", {}), second.get("versions", {})
    packages = [name for name in {**versions[0], **versions[1]} if versions[0].get(name) != versions[1].get(name)]
    told = [[of.get(name, "not installed") for of in versions] for name in packages]
    return found + [f"{name}: {was} before; {now} now" for name, (was, now) in zip(packages, told, strict=True)]


def _shown(value: Any) -> str:
    return (", ".join(value) if isinstance(value, list) else "" if value is None else str(value)) or "none"


def _cpu_limit(root: Path) -> str:
    """Returns the limits of CPU time of this process's control groups, the innermost first, that have one."""
    found = []
    for folder, version in control_groups(root, "cpu"):
        names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        limit = " ".join(_text(folder / name) for name in names)
        if limit.strip() and not limit.startswith(("max", "-1")):
            found.append(f"{limit} us ({folder.name})")
    return ", ".join(found)


def _mhz() -> float | None:
    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError):
        return None
    return round(found.current, 0) if found else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
