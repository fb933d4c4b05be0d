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


def test_requirements_are_those_of_the_steps_without_pytorch(tmp_path: Path) -> None:
    found = requirements(PROJECT, tmp_path)
    names = {line.split(">")[0].split("=")[0] for line in found}
    assert {"click", "numpy", "pillow", "onnx", "lightning", "psutil", "uvicorn", "pytest", "filelock"} <= names
    assert "onnxruntime-gpu" in names
    assert not {"torch", "torchvision", "onnxruntime", "ctonnx[evaluate]"} & names
    assert len(found) == len(set(found))


def test_cudas_libraries_are_pytorchs_unless_there_are_wheels(tmp_path: Path) -> None:
    (tmp_path / "nvidia_ml_py-13-py3-none-any.whl").touch()  # no library of CUDA
    assert "onnxruntime-gpu>=1.23" in requirements(PROJECT, tmp_path)
    (tmp_path / "nvidia_cudnn_cu13-9.1-py3-none-manylinux.whl").touch()
    assert any(line.startswith("onnxruntime-gpu[cuda,cudnn]") for line in requirements(PROJECT, tmp_path))


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
