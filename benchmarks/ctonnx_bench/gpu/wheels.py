"""Installs what a bare machine lacks from a folder of wheels, without a network and with the standard library alone."""

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["OF_THE_MACHINE", "checkout_metadata", "install", "requirements", "wheels_folder"]

_EXTRAS = ("gpu", "train", "export", "bench", "serve")
_TEST_TOOLS = ("filelock", "pytest")
OF_THE_MACHINE = ("torch", "torchvision")
"""Packages that a machine with PyTorch has; another version could be one for another CUDA."""


def wheels_folder(arguments: Sequence[str]) -> Path | None:
    """Returns the folder of `--wheels`, before any library can parse the command line.

    >>> wheels_folder(["--wheels=parts", "--budget", "60"])
    PosixPath('parts')
    """
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--wheels" and (equals or place + 1 < len(arguments)):
            return Path(value if equals else arguments[place + 1])
    return None


def requirements(project: Path, *, with_cuda: bool, with_torch: bool) -> list[str]:
    """Returns the requirements of the kit in pyproject.toml.

    Args:
        project: File pyproject.toml.
        with_cuda: Whether onnxruntime brings CUDA's libraries; else it uses those of PyTorch.
        with_torch: Whether PyTorch and torchvision are included; else the machine has them.
    """
    table = tomllib.loads(project.read_text(encoding="utf-8"))
    optional = table["project"]["optional-dependencies"]
    found = list(table["project"]["dependencies"])
    waiting = list(_EXTRAS)
    while waiting:
        for line in optional[waiting.pop(0)]:
            if line.startswith("ctonnx["):
                waiting += line.removeprefix("ctonnx[").removesuffix("]").split(",")
            else:
                found.append(line)
    found += [line for line in table["dependency-groups"]["dev"] if _name(line) in _TEST_TOOLS]
    if not with_cuda:
        found = [line.replace("onnxruntime-gpu[cuda,cudnn]", "onnxruntime-gpu") for line in found]
    return [line for line in dict.fromkeys(found) if with_torch or _name(line) not in OF_THE_MACHINE]


def install(wheels: Path, project: Path) -> None:
    """Installs the requirements into the environment of this Python, from the folder alone.

    Raises:
        SystemExit: If the folder is missing, or pip fails; the message is for a terminal.
    """
    if not wheels.is_dir():
        raise SystemExit(f"expected a folder of wheels for --wheels, found none at '{wheels}'")
    if (wheels / "join.py").is_file() and not any(wheels.glob("*.whl")):
        raise SystemExit(
            f"expected a folder of wheels for --wheels, found their parts in '{wheels}'; run "
            f"'{wheels / 'join.py'}' with Python, and take the folder of wheels that it writes"
        )
    with_torch = any(wheels.glob("torch-*.whl"))  # it brings CUDA's libraries, that of cuDNN too
    with_cuda = not with_torch and any(wheels.glob("nvidia_cudnn_*.whl"))
    needed = requirements(project, with_cuda=with_cuda, with_torch=with_torch)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    done = subprocess.run([*command, "--find-links", str(wheels), *needed], check=False)
    if done.returncode:
        raise SystemExit(
            f"expected wheels of every requirement in '{wheels}', found that pip failed (see above); collect the "
            "missing ones, or make an environment of your own: python -m venv --system-site-packages gpu-kit"
        )
    importlib.invalidate_caches()


@contextmanager
def checkout_metadata(project: Path) -> Iterator[None]:
    """Provides the name and version of ctonnx, for this process and its children, if it is not installed.

    The sources of a checkout have no metadata of a distribution, which `ctonnx.__version__` reads.
    """
    try:
        importlib.metadata.version("ctonnx")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        yield
        return
    version = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    before = os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory(prefix="ctonnx-metadata-") as folder:
        metadata = Path(folder, f"ctonnx-{version}.dist-info", "METADATA")
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: ctonnx\nVersion: {version}\n", encoding="utf-8")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, before]))
        sys.path.append(folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            os.environ.pop("PYTHONPATH")
            if before is not None:
                os.environ["PYTHONPATH"] = before


def _name(requirement: str) -> str:
    """Returns the distribution of a requirement.

    >>> _name("torch>=2.11")
    'torch'
    """
    end = next((place for place, char in enumerate(requirement) if not (char.isalnum() or char in "-_.")), None)
    return requirement[:end]
