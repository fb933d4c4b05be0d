"""NVIDIA's driver and GPUs, as reported by the driver's library."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.system.procfs import ROOT, first_line

__all__ = ["Driver", "Gpu", "driver_build", "has_nvidia_device", "nvidia_driver"]

_COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU: its model and its compute capability, such as `9.0`."""

    name: str
    compute: str


@dataclass(frozen=True)
class Driver:
    """Newest CUDA version (major, minor) that the driver supports, and this process's GPUs in CUDA's order."""

    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


def nvidia_driver(load: Callable[[str], Any] | None = None) -> Driver | None:
    """Returns the version and GPUs of the CUDA driver, or None if its library is not installed.

    Source: https://docs.nvidia.com/cuda/cuda-driver-api/ (`cuDriverGetVersion`, `cuInit`, `cuDeviceGetCount`,
    `cuDeviceGetName`, `cuDeviceGetAttribute`). `load` opens a library by its name; None uses `ctypes.CDLL`.
    """
    import ctypes  # inside, as `ctonnx predict --help` does not need it

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


def driver_build(root: Path = ROOT) -> str:
    """Returns the line of the driver's kernel module with its release and date; empty if unknown, as on Windows."""
    return first_line(root / "proc/driver/nvidia/version")


def has_nvidia_device(root: Path = ROOT) -> bool | None:
    """Returns whether this machine has an NVIDIA GPU, with or without a driver; None if unknown."""
    if "nvidia,tegra" in first_line(root / "proc/device-tree/compatible"):
        return True  # a Jetson's GPU is on the chip, not on the bus
    devices = root / "sys/bus/pci/devices"
    if (root / "dev/dxg").exists() or not devices.is_dir():
        return None  # WSL's GPU is not on the PCI bus
    return any(
        first_line(device / "vendor") == "0x10de" and first_line(device / "class").startswith("0x03")
        for device in devices.iterdir()
    )
