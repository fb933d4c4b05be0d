"""Small wheels without code, and a pip that finds only them."""

import os
import random
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ctonnx_offline.bundle import Bundle, write_bundle
from ctonnx_offline.target import Target

MakeWheel = Callable[..., Path]
MakeBundle = Callable[..., Path]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that pip takes for its only source of wheels."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def make_wheel(shelf: Path) -> MakeWheel:
    def make(
        name: str,
        version: str = "1.0",
        requires: Sequence[str] = (),
        *,
        tag: str = "py3-none-any",
        content: bytes = b"",
        headers: str = "",
        folder: Path = shelf,
    ) -> Path:
        path = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{headers}{lines}"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{name.replace('-', '_')}_content.bin", content)
            wheel.writestr(f"{info}/METADATA", metadata)
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            wheel.writestr(f"{info}/RECORD", "")
        return path

    return make


@pytest.fixture
def make_bundle(make_wheel: MakeWheel, tmp_path: Path) -> MakeBundle:
    """Writes a bundle of two small wheels and one in three pieces."""

    def make(purpose: str = "install") -> Path:
        wheels, folder = tmp_path / "collected", tmp_path / "bundle"
        wheels.mkdir()
        folder.mkdir()
        make_wheel("ctonnx", "0.4.0", ["large-package"], folder=wheels)
        make_wheel("Small", folder=wheels)
        make_wheel("large-package", content=random.Random(1).randbytes(2500), folder=wheels)  # noqa: S311  # content
        bundle = Bundle(
            purpose=purpose,
            title="ctonnx[cpu] 0.4.0",
            extras={"ctonnx": "[cpu]"},
            installed=["torch 2.11"] if purpose == "gpu-kit" else [],
            target=Target.of(),
        )
        write_bundle(bundle, wheels, folder, 1600, lambda line: None)
        return folder

    return make
