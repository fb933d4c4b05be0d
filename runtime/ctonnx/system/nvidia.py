"""NVIDIA's driver and GPUs, as the driver itself reports them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.system.procfs import ROOT, first_line

__all__ = ["Driver", "Gpu", "has_nvidia_device", "nvidia_driver"]

_COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


# --- NVIDIA ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes:
        name: of the model.
        compute: The compute capability, as in `9.0`.
    """

    name: str
    compute: str


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver, as its own library answers.

    Attributes:
        cuda: The newest CUDA that it runs, as (major, minor).
        gpus: Those that this process may use, in CUDA's order.
    """

    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


def nvidia_driver(load: Callable[[str], Any] | None = None) -> Driver | None:
    """Returns what the CUDA driver says of itself, or None where its library is not there.

    Source: https://docs.nvidia.com/cuda/cuda-driver-api/ (`cuDriverGetVersion`, `cuInit`, `cuDeviceGetCount`,
    `cuDeviceGetName`, `cuDeviceGetAttribute`).

    Args:
        load: Opens a library by its name; None is `ctypes.CDLL`.
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


def has_nvidia_device(root: Path = ROOT) -> bool | None:
    """Says whether an NVIDIA GPU is in this machine, with a driver or without.

    Args:
        root: where /proc, /sys and /dev are.

    Returns:
        None where the system does not tell.
    """
    if "nvidia,tegra" in first_line(root / "proc/device-tree/compatible"):
        return True  # a Jetson's GPU is on the chip, not on the bus
    devices = root / "sys/bus/pci/devices"
    if (root / "dev/dxg").exists() or not devices.is_dir():
        return None  # WSL shows its GPU through another door
    return any(
        first_line(device / "vendor") == "0x10de" and first_line(device / "class").startswith("0x03")
        for device in devices.iterdir()
    )
