"""Missing extras and damaged builds end a command with one sentence and its pip command."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.cli.blocked_imports import BLOCKER, ctonnx

from ctonnx.cli import main as cli


@pytest.mark.parametrize(
    ("words", "package", "extras"),
    [
        *[
            (("serve",), name, "cpu,serve")
            for name in ("starlette", "uvicorn", "python_multipart", "prometheus_client")
        ],
        (("train", "scans"), "torch", "train"),
        (("train", "scans"), "lightning", "train"),
        (("train", "scans"), "sklearn", "train"),
        (("train", "scans", "--preview", "seen.png"), "torch", "train"),
        (("data", "phantom", "out"), "tqdm", "evaluate"),
        (("data", "audit", "scans"), "imagehash", "evaluate"),
        (("data", "audit", "scans"), "scipy", "evaluate"),
        (("evaluate", "model.onnx", "scans"), "sklearn", "cpu,evaluate"),
        (("evaluate", "model.onnx", "scans"), "matplotlib", "cpu,evaluate"),
        (("recalibrate", "model.onnx", "scans", "--output", "new.onnx"), "onnx", "cpu,evaluate"),
        (("recalibrate", "model.onnx", "scans", "--output", "new.onnx"), "scipy", "cpu,evaluate"),
        (("evaluate", "runs/lungs", "scans"), "torch", "cpu,train"),
        (("export",), "torch", "cpu,export"),
        (("export",), "onnx", "cpu,export"),
    ],
)
def test_missing_extra_ends_in_one_sentence_with_its_pip_line(
    words: tuple[str, ...], package: str, extras: str, tmp_path: Path
) -> None:
    images = [f"scans/{name}/{number}.png" for name in ("normal", "tumor") for number in range(2)]
    for file in ("runs/lungs/model.safetensors", "runs/lungs/run.json", *images):  # are looked at before a library is
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    before = sorted(tmp_path.rglob("*"))
    done = ctonnx(*words, without=(package,), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: 'ctonnx {words[0]}' needs the package '{package}', which is not installed; "
        f'pip install "ctonnx[{extras}]"\n'
    )
    assert sorted(tmp_path.rglob("*")) == before


def missing(command: str, names: tuple[str, ...], builds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the sentence about a missing module of an extra, with some builds of onnxruntime installed."""
    monkeypatch.setattr("ctonnx.system.packages.missing_extras", lambda extras: names)
    monkeypatch.setattr("ctonnx.system.packages.installed_builds", lambda: dict.fromkeys(builds, "1.31.1"))
    return cli._missing(command, ModuleNotFoundError("No module named 'tqdm'", name="tqdm"))


def test_missing_extra_is_named_and_not_the_first_of_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("evaluate", ("evaluate",), ("onnxruntime",), monkeypatch) == (
        "'ctonnx evaluate' needs the extra 'evaluate', which is not installed; pip install \"ctonnx[cpu,evaluate]\""
    )
    assert missing("export", ("cpu", "export"), (), monkeypatch) == (
        "'ctonnx export' needs the extras 'cpu' and 'export', which are not installed; "
        'pip install "ctonnx[cpu,export]"'
    )


@pytest.mark.parametrize("build", ["onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "ort-nightly"])
def test_no_second_build_of_onnxruntime_is_named_where_one_is_installed(
    build: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, entry in cli._COMMANDS.items():
        for names in (("train",), ()):
            extras = entry.extras.removeprefix("cpu").removeprefix(",")
            message = missing(command, names, (build,), monkeypatch)
            assert message.endswith(f'; pip install "ctonnx[{extras}]"' if extras else "; pip install ctonnx")


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "scan.png"),
        ("verify", "model.onnx"),
        ("inspect", "model.onnx"),
        ("doctor",),
        ("serve",),
        ("evaluate", "model.onnx", "scans"),
        ("recalibrate", "model.onnx", "scans", "--output", "new.onnx"),
    ],
)
def test_onnxruntime_that_pip_takes_for_installed_is_uninstalled_first(words: tuple[str, ...], tmp_path: Path) -> None:
    """Its folder is deleted: `pip install` alone would find the distribution installed and do nothing."""
    (tmp_path / "scans/normal").mkdir(parents=True)
    (tmp_path / "scans/normal/1.png").touch()
    done = ctonnx(*words, without=("onnxruntime",), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: onnxruntime does not load (No module named 'onnxruntime'): some of its files are missing, as after "
        "uninstalling another build, or it is for another system; pip uninstall --yes onnxruntime, then "
        'pip install "ctonnx[cpu]"\n'
    )


@pytest.mark.parametrize(
    "words", [("predict", "scan.png"), ("verify", "model.onnx"), ("inspect", "model.onnx"), ("doctor",)]
)
def test_incomplete_onnxruntime_ends_in_one_sentence(words: tuple[str, ...], tmp_path: Path) -> None:
    """As after pip uninstalls one of two builds that are installed over each other: a package without its modules."""
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + BLOCKER.format(without=(), words=words)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: onnxruntime does not load (cannot import name '")
    assert len(done.stderr.splitlines()) == 1


def test_invalid_data_is_rejected_before_pytorch_is_imported(tmp_path: Path) -> None:
    done = ctonnx("train", "scans", without=("torch", "lightning", "sklearn", "scipy"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: expected a data folder or a MedMNIST .npz file at 'scans', found nothing; check the path\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--help"),
        ("evaluate", "--help"),
        ("recalibrate", "--help"),
        ("export", "--help"),
        ("data", "phantom", "--help"),
        ("data", "audit", "--help"),
    ],
)
def test_help_of_a_command_needs_no_extra(words: tuple[str, ...]) -> None:
    blocked = (
        "imagehash",
        "lightning",
        "matplotlib",
        "onnx",
        "onnxruntime",
        "onnxsim",
        "safetensors",
        "scipy",
        "sklearn",
        "torch",
        "torchvision",
        "tqdm",
    )
    done = ctonnx(*words, without=blocked)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: ctonnx {' '.join(words[:-1])} ")
