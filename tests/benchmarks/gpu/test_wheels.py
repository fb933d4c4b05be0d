"""Requirements of the kit come from pyproject.toml, and pip gets no network."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctonnx_bench.gpu.wheels import checkout_metadata, install, requirements, wheels_folder

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--wheels", "w", "--rehearsal"], Path("w")),
        (["--rehearsal", "--wheels=w"], Path("w")),
        (["--wheels"], None),
        (["--rehearsal"], None),
    ],
)
def test_folder_is_read_before_the_command_line_is_parsed(arguments: list[str], expected: Path | None) -> None:
    assert wheels_folder(arguments) == expected


def test_requirements_are_those_of_the_steps_without_pytorch() -> None:
    found = requirements(PROJECT, with_cuda=False, with_torch=False)
    names = {line.split(">")[0].split("=")[0] for line in found}
    assert {"click", "numpy", "pillow", "onnx", "lightning", "psutil", "uvicorn", "pytest", "filelock"} <= names
    assert "onnxruntime-gpu" in names
    assert not {"torch", "torchvision", "onnxruntime", "ctonnx[evaluate]"} & names
    assert len(found) == len(set(found))

    both = requirements(PROJECT, with_cuda=True, with_torch=True)
    names = {line.split(">")[0] for line in both}
    assert {"torch", "torchvision", "onnxruntime-gpu[cuda,cudnn]"} <= names


@pytest.mark.parametrize(
    ("wheels", "with_cuda", "with_torch"),
    [
        (["nvidia_ml_py-13-py3-none-any.whl"], False, False),  # no library of CUDA
        (["nvidia_cudnn_cu13-9.1-py3-none-manylinux.whl"], True, False),
        (["nvidia_cudnn_cu13-9.1-py3-none-manylinux.whl", "torch-2.15.0-cp312-cp312-manylinux.whl"], False, True),
        (["torchmetrics-1.9.0-py3-none-any.whl"], False, False),
    ],
)
def test_cuda_and_pytorch_are_the_machines_unless_there_are_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheels: list[str], with_cuda: bool, with_torch: bool
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("subprocess.run", run)
    for name in wheels:
        (tmp_path / name).touch()
    install(tmp_path, PROJECT)
    names = {word.split(">")[0] for word in commands[0]}
    assert ("onnxruntime-gpu[cuda,cudnn]" in names) == with_cuda
    assert ("onnxruntime-gpu" in names) != with_cuda
    assert ("torch" in names) == ("torchvision" in names) == with_torch


def test_folder_of_parts_is_joined_first(tmp_path: Path) -> None:
    (tmp_path / "join.py").touch()
    with pytest.raises(SystemExit, match=r"found their parts in .*; run '.*join.py' with Python, and take the folder"):
        install(tmp_path, PROJECT)


def test_pip_installs_from_the_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=len(commands) - 1)

    monkeypatch.setattr("subprocess.run", run)
    install(tmp_path, PROJECT)
    assert commands[0][:4] == [sys.executable, "-m", "pip", "install"]
    assert "--no-index" in commands[0]
    assert commands[0][commands[0].index("--find-links") + 1] == str(tmp_path)
    with pytest.raises(SystemExit, match="expected wheels of every requirement in"):
        install(tmp_path, PROJECT)
    with pytest.raises(SystemExit, match="expected a folder of wheels for --wheels, found none at 'nowhere'"):
        install(Path("nowhere"), PROJECT)


def test_bare_machine_needs_the_standard_library_alone(tmp_path: Path) -> None:
    """Without site-packages, the wheels are installed before click and NumPy are imported."""
    package = PROJECT.parent / "benchmarks"
    done = subprocess.run(
        [sys.executable, "-S", "-m", "ctonnx_bench.gpu", "--wheels", str(tmp_path / "none")],
        cwd=package,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr == f"expected a folder of wheels for --wheels, found none at '{tmp_path / 'none'}'\n"


def test_checkout_without_metadata_has_the_version_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in child processes, as the steps of the kit."""
    command = [sys.executable, "-c", "import importlib.metadata as m, sys; print(m.version('ctonnx'))"]

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.setattr("importlib.metadata.version", missing)
    with checkout_metadata(PROJECT):
        folder = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0])
        assert sys.path[-1] == str(folder)
        [metadata] = folder.glob("ctonnx-*.dist-info/METADATA")
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert f"Version: {done.stdout}" in metadata.read_text(encoding="utf-8")
    assert os.environ["PYTHONPATH"] == "before"
    assert not folder.exists()


def test_installed_ctonnx_keeps_its_own_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with checkout_metadata(PROJECT):
        assert "PYTHONPATH" not in os.environ
