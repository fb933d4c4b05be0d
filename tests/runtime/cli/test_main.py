"""The group: lazy, and whatever a command raises becomes one sentence and the right exit code."""

import errno
import importlib
import signal
import subprocess
import sys
import warnings
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from ctonnx.cli import main as cli
from ctonnx.cli.main import main
from ctonnx.errors import CheckFailed, CtonnxError, DataError, ImageError, ModelError, ProviderError

COMMANDS = ("demo", "data", "train", "evaluate", "export", "verify", "inspect", "predict", "serve", "doctor", "bench")

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in {without!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
sys.argv = ["ctonnx", *{words!r}]
from ctonnx.cli.main import main
main()
"""


def ctonnx(*words: str, without: tuple[str, ...] = (), cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs the command in a process of its own, where some modules cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER.format(without=without, words=words)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
    )


# --- lazy ------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_its_line() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    lines = result.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split() for line in lines] == [[name, *entry.help.split()] for name, entry in cli._COMMANDS.items()]
    assert tuple(cli._COMMANDS) == COMMANDS


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_imports_no_command_and_no_library(word: str) -> None:
    blocked = (
        "numpy",
        "PIL",
        "onnxruntime",
        "torch",
        "starlette",
        "uvicorn",
        "ctonnx.cli.commands",
        "ctonnx_train",
        "ctonnx_export",
    )
    done = ctonnx(word, without=blocked)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name}  " in done.stdout for name in COMMANDS)


def test_version_is_the_distributions() -> None:
    done = subprocess.run([sys.executable, "-m", "ctonnx", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.rstrip().endswith(f"version {version('ctonnx')}")


@pytest.mark.parametrize("name", COMMANDS)
def test_line_in_the_groups_help_is_the_commands_own(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert cli._COMMANDS[name].help == command.get_short_help_str(limit=200)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_called_by_its_name_and_has_an_example(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    assert [leaf.name for leaf in leaves if "Example" not in (leaf.help or "")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_extras_of_a_command_are_extras_of_the_distribution(name: str) -> None:
    provided = metadata("ctonnx").get_all("Provides-Extra") or []
    assert set(cli._COMMANDS[name].extras.split(",")) <= set(provided)


@pytest.mark.parametrize("name", COMMANDS)
def test_number_that_is_none_passes_no_options_bounds(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    numbers = [
        parameter
        for leaf in leaves
        if leaf
        for parameter in leaf.params
        if isinstance(parameter.type, click.types.FloatParamType)
    ]
    for parameter in numbers:
        for value in ("nan", "inf"):
            with pytest.raises(click.BadParameter):
                parameter.type.convert(value, parameter, None)


def test_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(main, ["diagnose"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == "Error: No such command 'diagnose'."


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Commands:" in result.output


# --- a missing extra -------------------------------------------------------------------------------------------------


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
        (("data", "phantom", "out"), "tqdm", "train"),
        (("data", "audit", "scans"), "imagehash", "train"),
        (("data", "audit", "scans"), "scipy", "train"),
        (("evaluate", "model.onnx", "scans"), "sklearn", "cpu,train"),
        (("evaluate", "model.onnx", "scans"), "matplotlib", "cpu,train"),
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
    """Returns the sentence about a module of an extra that is not installed, where builds of onnxruntime are."""
    monkeypatch.setattr("ctonnx.system.packages.missing_extras", lambda extras: names)
    monkeypatch.setattr("ctonnx.system.packages.installed_builds", lambda: dict.fromkeys(builds, "1.31.1"))
    return cli._missing(command, ModuleNotFoundError("No module named 'tqdm'", name="tqdm"))


def test_missing_extra_is_named_and_not_the_first_of_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("evaluate", ("train",), ("onnxruntime",), monkeypatch) == (
        "'ctonnx evaluate' needs the extra 'train', which is not installed; pip install \"ctonnx[cpu,train]\""
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
            said = missing(command, names, (build,), monkeypatch)
            assert said.endswith(f'; pip install "ctonnx[{extras}]"' if extras else "; pip install ctonnx")


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "scan.png"),
        ("verify", "model.onnx"),
        ("inspect", "model.onnx"),
        ("doctor",),
        ("serve",),
        ("evaluate", "model.onnx", "scans"),
    ],
)
def test_onnxruntime_that_pip_takes_for_installed_is_uninstalled_first(words: tuple[str, ...], tmp_path: Path) -> None:
    """Its folder is gone: `pip install` alone would say that it is there, and do nothing."""
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
def test_onnxruntime_of_which_a_part_is_left_ends_in_one_sentence(words: tuple[str, ...], tmp_path: Path) -> None:
    """As pip leaves it, where two builds lay over each other and one was uninstalled: nothing that is looked for."""
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + BLOCKER.format(without=(), words=words)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: onnxruntime does not load (cannot import name '")
    assert len(done.stderr.splitlines()) == 1


def test_data_that_cannot_be_trained_on_is_refused_before_pytorch_is_looked_for(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("module", ["ctonnx.prediction.inputs", "ctonnx.cli.commands.predict"])
def test_missing_module_of_our_own_is_not_hidden_as_a_missing_extra(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(main, ["predict", "scan.png"])
    assert isinstance(result.exception, ModuleNotFoundError)
    assert result.exception.name == module


# --- what a command raises -------------------------------------------------------------------------------------------


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `ctonnx predict` when its first step raises an error."""

    def fail(paths: object) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("ctonnx.prediction.inputs"), "find_images", fail)
    return CliRunner().invoke(main, ["predict", "scan.png"])


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (CtonnxError("a sentence"), 2, "Error: a sentence\n"),
        (ImageError("damaged", "a.png"), 2, "Error: a.png: damaged\n"),
        (ModelError("a sentence"), 2, "Error: a sentence\n"),
        (ProviderError("a sentence"), 2, "Error: a sentence\n"),
        (DataError("a sentence"), 2, "Error: a sentence\n"),
        (CheckFailed("a sentence"), 1, "Error: a sentence\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out.onnx"),
            2,
            "Error: No space left on device: 'out.onnx'\n",
        ),
        (OSError(errno.EROFS, "Read-only file system"), 2, "Error: [Errno 30] Read-only file system\n"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 2, "Error: Permission denied: 'runs'\n"),
        (OSError("a sentence"), 2, "Error: a sentence\n"),
        (KeyboardInterrupt(), 130, "\nctonnx: stopped\n"),
        (
            MemoryError(),
            2,
            "Error: there is not enough memory for this command; end other programs, or raise the limit\n",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_a_command_raises_becomes_a_sentence_and_an_exit_code(
    error: BaseException, exit_code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = raising(error, monkeypatch)
    assert (result.stdout, result.stderr, result.exit_code) == ("", said, exit_code)


def test_torch_and_torchvision_of_two_builds_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch of PyTorch's CPU wheels beside the usual torchvision, which is for CUDA."""
    monkeypatch.setattr("ctonnx.system.packages.version_of", {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}.get)
    result = raising(RuntimeError("operator torchvision::nms does not exist"), monkeypatch)
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr == (
        "Error: expected matching builds of torch and torchvision, found torch 2.13.0+cpu and torchvision 0.28.0; "
        "install both from one place, such as PyTorch's CPU wheels\n"
    )


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_closed_terminal_ends_a_command_as_sigterm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(paths: object) -> None:
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(importlib.import_module("ctonnx.prediction.inputs"), "find_images", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        result = CliRunner().invoke(main, ["predict", "scan.png"])
        assert (result.stderr, result.exit_code) == ("\nctonnx: stopped\n", 129)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        assert CliRunner().invoke(main, ["predict", "scan.png"]).exit_code != 129
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


_SIGTERM_WHILE = """
import signal, sys, time, ctonnx.prediction.inputs
from ctonnx.cli.main import main

class Lost:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def lost(paths):
    Lost()  # Python passes on nothing from there
    time.sleep(20)

def altered(paths):
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise ImportError("initialization failed")

ctonnx.prediction.inputs.find_images = {name}
main(["predict", "scan.png"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["lost", "altered"])
def test_sigterm_that_a_library_swallows_ends_the_command_all_the_same(name: str) -> None:
    code = _SIGTERM_WHILE.replace("{name}", name)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.returncode) == ("\nctonnx: stopped\n", 143)


def test_ctrl_c_before_the_command_has_begun_is_no_traceback() -> None:
    code = """
import sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from ctonnx.__main__ import run
run()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("", "\nctonnx: stopped\n", 130)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), AttributeError("a bug")], ids=repr)
def test_bug_is_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert raising(error, monkeypatch).exception is error


def test_what_pillow_warns_of_is_not_shown_among_the_rows(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (80, 80)).save(tmp_path / "scan.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        result = CliRunner().invoke(main, ["predict", str(tmp_path / "scan.png"), "-m", str(model)])
    assert (result.exit_code, [str(warning.message) for warning in warned]) == (0, [])
