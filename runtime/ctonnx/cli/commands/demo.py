"""`ctonnx demo`: runs the whole workflow on synthetic phantoms, with the commands that a user would type."""

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from ctonnx.errors import CtonnxError
from ctonnx.system.packages import extras_to_install
from ctonnx.system.text import duration

__all__ = ["demo"]

_PHANTOMS = "phantoms"
_PER_CLASS, _EPOCHS, _IMAGE_SIZE = 80, 24, 112
_USUAL_SECONDS = {"data": 9.0, "train": 125.0, "export": 25.0, "inspect": 1.0, "predict": 3.0, "bench": 30.0}
_ENOUGH_SECONDS = 5.0  # of finished steps, to estimate the speed of the machine
_NEEDED = (
    "tqdm",
    "torch",
    "torchvision",
    "lightning",
    "matplotlib",
    "safetensors",
    "scipy",
    "sklearn",
    "onnx",
    "onnxscript",
    "onnxsim",
    "onnxruntime",
)
_MEASURES = "psutil"  # only in the extra bench, which the last step needs


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("ctonnx-demo"))
@click.option("--per-class", type=click.IntRange(3), default=_PER_CLASS, help="Number of phantoms per class.")
@click.option("--epochs", type=click.IntRange(1), default=_EPOCHS, help="Number of training epochs.")
@click.option(
    "--image-size",
    type=click.IntRange(32, 4096),
    default=_IMAGE_SIZE,
    help="Height and width of the network's input, in pixels.",
)
@click.option("--serve", "with_page", is_flag=True, help="Serve the model at the end, and open its page in a browser.")
def demo(folder: Path, per_class: int, epochs: int, image_size: int, with_page: bool) -> None:
    """Run the whole workflow on synthetic phantoms.

    Draws phantoms, trains on them, exports the model, predicts with it and, with the extra bench, measures it next to
    PyTorch, in FOLDER (default: ctonnx-demo). Each step is shown as the command that you would type. The phantoms are
    synthetic: the model has no clinical meaning.

    \b
    Examples:
      ctonnx demo --epochs 5
      ctonnx demo --serve
    """
    for library in _NEEDED:
        if find_spec(library) is None:
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)
    if with_page and find_spec("starlette") is None:
        raise CtonnxError(f"expected starlette for --serve, found none; pip install {extras_to_install(['serve'])}")
    can_measure = find_spec(_MEASURES) is not None
    folder.mkdir(parents=True, exist_ok=True)
    steps = [
        (
            "Train a ResNet50 from scratch.",
            f"train {_PHANTOMS} --weights none --image-size {image_size} --full-size --batch-size 16 --epochs {epochs}",
        ),
        ("Export it to ONNX, checked against PyTorch.", "export"),
        ("Show the model's metadata.", "inspect"),
        ("Predict the test images with onnxruntime, without PyTorch.", f"predict {_PHANTOMS}/test --top-k 2"),
    ]
    if can_measure:
        steps.append(
            ("Measure it briefly, next to PyTorch.", "bench --peers pytorch --batch-size 1 --duration 3 --rounds 3")
        )
    if not _has_phantoms(folder / _PHANTOMS, per_class):
        steps.insert(0, ("Draw synthetic chest-CT phantoms.", f"data phantom {_PHANTOMS} --per-class {per_class}"))
    usual = [_usual_seconds(command, per_class, epochs, image_size) for _, command in steps]
    begin = time.perf_counter()
    for number, (purpose, command) in enumerate(steps, 1):
        left = _left(usual, number - 1, time.perf_counter() - begin)
        click.secho(f"\n[{number}/{len(steps)}] {purpose}", bold=True, nl=False)
        click.echo(f" (about {duration(left)} left)\n      in {folder}/$ ctonnx {command}\n")
        start = time.perf_counter()
        code = subprocess.run(
            [sys.executable, "-P", "-m", "ctonnx", *shlex.split(command)], cwd=folder, check=False
        ).returncode
        if code != 0:
            failure = CtonnxError(f"'ctonnx {command}' ended with exit code {code}; see its message above")
            failure.exit_code = code
            raise failure
        click.echo(f"\n      done in {time.perf_counter() - start:.1f} s")
    if not can_measure:
        click.echo(
            f"\nNot measured: 'ctonnx bench' needs the extra 'bench'; pip install {extras_to_install(['bench'])}"
        )
    kept = "the checkpoint, its export and its benchmark" if can_measure else "the checkpoint and its export"
    click.echo(f"\nAll files are in {folder}/: {_PHANTOMS}/ the images, runs/ {kept}.")
    click.echo("Next, your own scans: ctonnx train DATA, ctonnx export, ctonnx predict DIR")
    if with_page:
        _serve(folder)


def _serve(folder: Path) -> None:
    """Serves the newest model of a folder, and opens the page once the server is ready; Ctrl-C ends it."""
    import webbrowser

    click.secho("\nServe it; Ctrl-C ends the server.", bold=True)
    click.echo(f"      in {folder}/$ ctonnx serve\n")
    command = [sys.executable, "-P", "-m", "ctonnx", "serve"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr or ():
                click.echo(line, nl=False, err=True)
                if line.startswith("serving: "):
                    webbrowser.open(line.split()[1])
            code = process.wait()
        except BaseException:
            process.terminate()  # it ends by itself at Ctrl-C, which reaches both
            raise
    if code != 0:
        failure = CtonnxError(f"'ctonnx serve' ended with exit code {code}; see its message above")
        failure.exit_code = code
        raise failure


@dataclass(frozen=True)
class _Phantoms:
    per_class: int


def _usual_seconds(command: str, per_class: int, epochs: int, image_size: int) -> float:
    """Returns the seconds that a step usually takes on two idle cores."""
    seconds = _USUAL_SECONDS[command.split()[0]]
    images = per_class / _PER_CLASS
    if command.startswith("train"):
        return seconds * images * epochs / _EPOCHS * (image_size / _IMAGE_SIZE) ** 2
    return seconds * images if command.startswith("data") else seconds


def _left(usual: Sequence[float], done: int, elapsed: float) -> float:
    """Returns the seconds that the remaining steps will take, at the speed of the finished ones."""
    before = sum(usual[:done])
    slow = max(elapsed / before, 1.0) if before > _ENOUGH_SECONDS else 1.0
    return sum(usual[done:]) * slow


def _has_phantoms(folder: Path, per_class: int) -> bool:
    """Returns whether an earlier demo drew the phantoms.

    Raises:
        CtonnxError: If the folder contains other files, or another number of phantoms.
    """
    from ctonnx.artifacts import json_schema

    if not folder.exists():
        return False
    try:
        found = json_schema.load(_Phantoms, folder / "phantom.json").per_class
    except (OSError, ValueError) as error:
        raise CtonnxError(
            f"expected phantoms, or nothing, in '{folder}', found other files; choose another folder"
        ) from error
    if found != per_class:
        raise CtonnxError(
            f"expected {per_class} phantoms a class in '{folder}', found {found} from an earlier demo; "
            "remove that folder or choose another one"
        )
    return True
