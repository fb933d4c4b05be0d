"""Folders of training runs: their files, and the run that a command uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.report_schema import PRECISIONS
from ctonnx.errors import ModelError

__all__ = ["RUNS", "Run", "exported_files", "find_run", "names_a_file", "newest_run", "trained_runs"]

_NAME_ONE = (
    "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: --model FILE)"
)

RUNS = Path("runs")
"""Folder of the runs, in the working folder."""


class _Inside:
    """A file or folder with a fixed name in a run's folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: "Run", owner: object) -> Path:
        return run.folder / self._name


@dataclass(frozen=True)
class Run:
    """A training run's folder.

    >>> Run(Path("runs/lungs")).model_file("fp32").as_posix()
    'runs/lungs/export/model.fp32.onnx'
    """

    folder: Path

    weights_file = _Inside("model.safetensors")  # weights of the checkpoint
    next_weights_file = _Inside("model.next.safetensors")  # newer weights, until their record is written
    novelty_file = _Inside("novelty.safetensors")  # distance of an image from the training images
    next_novelty_file = _Inside("novelty.next.safetensors")  # as `next_weights_file`
    record_file = _Inside("run.json")  # settings, classes, data fingerprint and metrics of the run
    splits_file = _Inside("splits.json")  # images of each split
    patients_key_file = _Inside("patients.key")  # key of the patients' pseudonyms, which stays with the run
    plan_file = _Inside("plan.json")  # settings of a training that is not finished
    last_file = _Inside("last.ckpt")  # state from which an unfinished training resumes
    metrics_file = _Inside("metrics.csv")  # metrics of each epoch
    evaluation_folder = _Inside("evaluation")  # metrics and plots for the validation and test images
    stress_file = _Inside("evaluation/stress.json")  # changes of decisions on changed scans
    export_folder = _Inside("export")  # exported models

    @property
    def name(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.resolve().name

    def model_file(self, precision: str) -> Path:
        """Returns the path of the exported model of one precision, which may not exist."""
        return self.export_folder / f"model.{precision}.onnx"

    @property
    def has_export(self) -> bool:
        """Whether the run has an exported model."""
        return bool(exported_files(self.export_folder))

    @property
    def has_checkpoint(self) -> bool:
        """Whether training finished with a checkpoint."""
        return self.weights_file.is_file() and self.record_file.is_file()

    @property
    def created(self) -> str:
        """Time of the training (ISO 8601, UTC), or an empty string if the record cannot be read."""
        try:
            return json_schema.load(_Created, self.record_file).created
        except (OSError, ValueError):
            return ""


@dataclass(frozen=True)
class _Created:
    created: str


def newest_run(root: Path = RUNS) -> Run:
    """Returns the most recently trained run below `root` that has a checkpoint.

    Raises:
        ModelError: If there is none.
    """
    return trained_runs(root)[-1]


def trained_runs(root: Path) -> list[Run]:
    """Returns the runs below `root` that have a checkpoint, at least one, in the order of their training.

    Raises:
        ModelError: If there is none.
    """
    folders = root.iterdir() if root.is_dir() else ()
    trained = [run for run in map(Run, folders) if not run.folder.name.startswith(".") and run.has_checkpoint]
    if not trained:
        raise ModelError(f"expected a trained run below '{root}/' (in '{Path.cwd()}'), found none; {_NAME_ONE}")
    return sorted(trained, key=lambda run: (run.created, run.name))


def find_run(run: Path | None, root: Path = RUNS) -> Run:
    """Returns the run in a folder or with a name below `root`; None means the newest run.

    Raises:
        ModelError: If there is no such run, or it has no checkpoint.
    """
    if run is None:
        return newest_run(root)
    for found in (Run(run), Run(root / run)):
        if found.has_checkpoint:
            return found
    raise ModelError(
        f"expected a run's folder (with model.safetensors and run.json) at '{run}' or '{root / run}', found none; "
        f"{_NAME_ONE}"
    )


def names_a_file(model: Path | None) -> TypeGuard[Path]:
    """Returns whether a model is given as a file, which may not exist."""
    return model is not None and (model.is_file() or model.suffix == ".onnx")


def exported_files(folder: Path) -> list[Path]:
    """Returns the exported models in a folder, in the order of `PRECISIONS`."""
    files = (folder / f"model.{precision}.onnx" for precision in PRECISIONS)
    return [file for file in files if file.is_file()]
