"""NVIDIA's driver is read through its own library, and GPUs are found on the PCI bus."""

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.system.linux_files import write

from ctonnx.system.nvidia import Driver, Gpu, driver_build, has_nvidia_device, nvidia_driver


class Library:
    """NVIDIA's library with chosen results."""

    def __init__(self, version: int, status: int, *gpus: tuple[bytes, int, int]) -> None:
        self.version, self.status, self.gpus = version, status, gpus

    def cuDriverGetVersion(self, pointer: Any) -> int:  # noqa: N802
        pointer._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, pointer: Any) -> int:  # noqa: N802
        pointer._obj.value = len(self.gpus)
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: int) -> int:  # noqa: N802
        name.value = self.gpus[device][0]
        return 0

    def cuDeviceGetAttribute(self, pointer: Any, attribute: int, device: int) -> int:  # noqa: N802
        pointer._obj.value = self.gpus[device][attribute - 74]  # 75 is the capability's major number, 76 its minor
        return 0


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (
            Library(13000, 0, (b"NVIDIA H100", 9, 0), (b"Tesla T4", 7, 5)),
            Driver((13, 0), (Gpu("NVIDIA H100", "9.0"), Gpu("Tesla T4", "7.5"))),
        ),
        (Library(12080, 0), Driver((12, 8), ())),
        (Library(13000, 100, (b"NVIDIA H100", 9, 0)), Driver((13, 0), ())),
    ],
)
def test_driver_is_read_from_its_library(library: Library, expected: Driver) -> None:
    assert nvidia_driver(lambda name: library) == expected


def test_missing_driver_is_none() -> None:
    def load(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    assert nvidia_driver(load) is None


def test_driver_has_its_name_on_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def load(name: str) -> object:
        names.append(name)
        raise OSError

    for system in ("linux", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        nvidia_driver(load)
    assert names == ["libcuda.so.1", "nvcuda.dll"]


@pytest.mark.parametrize(
    ("vendor", "kind", "expected"),
    [("0x10de", "0x030200", True), ("0x10de", "0x0403", False), ("0x1002", "0x030000", False), (None, None, None)],
)
def test_gpu_on_the_bus_is_found_without_a_driver(
    vendor: str | None, kind: str, expected: bool | None, tmp_path: Path
) -> None:
    if vendor:
        write(tmp_path / "sys/bus/pci/devices/0000:01:00.0/vendor", f"{vendor}\n")
        write(tmp_path / "sys/bus/pci/devices/0000:01:00.0/class", f"{kind}\n")
    assert has_nvidia_device(tmp_path) is expected


def test_gpu_of_a_jetson_is_not_on_the_bus(tmp_path: Path) -> None:
    write(tmp_path / "proc/device-tree/compatible", "nvidia,p3768\0nvidia,tegra234\0")
    assert has_nvidia_device(tmp_path) is True


def test_gpu_of_wsl_is_not_on_the_bus(tmp_path: Path) -> None:
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    write(tmp_path / "dev/dxg", "")
    assert has_nvidia_device(tmp_path) is None


def test_release_of_the_driver_is_read_from_its_module(tmp_path: Path) -> None:
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build"
    write(tmp_path / "proc/driver/nvidia/version", f"{line}\nGCC version: 12\n")
    assert driver_build(tmp_path) == line
    assert driver_build(tmp_path / "none") == ""
