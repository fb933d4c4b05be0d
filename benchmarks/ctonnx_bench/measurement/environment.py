"""Environment of a measurement: the machine, its limits and state, and the installed versions."""

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from ctonnx.inference.providers import PROVIDERS
from ctonnx.system.cpu import available_cores, processor
from ctonnx.system.memory import memory_limit
from ctonnx.system.packages import installed_builds, versions_of
from ctonnx.system.procfs import control_groups, first_line
from ctonnx_bench.measurement.sensors import Gpu
from ctonnx_bench.measurement.without_amx import WITHOUT_AMX

__all__ = ["describe", "differences"]

# Packages whose versions are recorded in addition to onnxruntime's builds.
_RUNTIME = ("ctonnx", "numpy", "PIL")
_PLUGINS = tuple(dict.fromkeys(facts.plugin.module for facts in PROVIDERS.values() if facts.plugin))
_PEERS = ("torch", "torchvision", "openvino", "nncf", "transformers", "ultralytics")


def describe(root: Path = Path("/"), gpu: Gpu | None = None) -> dict[str, Any]:
    """Returns the environment; `root` contains proc and sys, and the GPU is detected unless it is given."""
    about = processor(root)
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    is_disabled = WITHOUT_AMX in os.environ
    return {
        "cpu": about.model or platform.machine(),
        "architecture": platform.machine(),
        "features": sorted(feature for feature in about.features or () if not (is_disabled and "amx" in feature)),
        "cores_of_the_host": os.cpu_count(),
        "cores_allowed": available_cores(root),
        "governor": first_line(frequency / "scaling_governor"),
        "boost": first_line(root / "sys/devices/system/cpu/cpufreq/boost"),
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
        "versions": {**versions_of(_RUNTIME), **installed_builds(), **versions_of((*_PLUGINS, *_PEERS))},
    }


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Returns the differences of two environments that affect speed."""
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
        f"{title}: {_shown(first.get(name))} before; {_shown(second.get(name))} now"
        for name, title in names.items()
        if first.get(name) != second.get(name)
    ]
    old, new = first.get("versions", {}), second.get("versions", {})
    return found + [
        f"{name}: {old.get(name, 'not installed')} before; {new.get(name, 'not installed')} now"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def _shown(value: Any) -> str:
    return (", ".join(value) if isinstance(value, list) else "" if value is None else str(value)) or "none"


def _cpu_limit(root: Path) -> str:
    """Returns the limits of CPU time of this process's control groups, the innermost first."""
    found = []
    for folder, version in control_groups(root, "cpu"):
        names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        limit = " ".join(first_line(folder / name) for name in names)
        if limit.strip() and not limit.startswith(("max", "-1")):
            found.append(f"{limit} us ({folder.name})")
    return ", ".join(found)


def _mhz() -> float | None:
    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError):
        return None
    return round(found.current, 0) if found else None
