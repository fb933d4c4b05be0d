"""Folders of training runs: their files, and the run that a command uses."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.spec import PRECISIONS
from ctonnx.errors import ModelError

__all__ = ["RUNS", "Run", "exported_files", "find_run", "names_a_file", "newest_run", "trained_runs"]


_NAME_ONE = (
    "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: --model FILE)"
)

RUNS = Path("runs")
"""Folder of the runs, in the working folder."""


@dataclass(frozen=True)
class Run:
    """A training run's folder.

    >>> Run(Path("runs/lungs")).model_file("fp32").as_posix()
    'runs/lungs/export/model.fp32.onnx'
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the run: that of its folder."""
        return self.folder.resolve().name

    @property
    def weights_file(self) -> Path:
        """Weights of the checkpoint."""
        return self.folder / "model.safetensors"

    @property
    def next_weights_file(self) -> Path:
        """Weights of a newer checkpoint, until its record is written and they replace `weights_file`."""
        return self.folder / "model.next.safetensors"

    @property
    def record_file(self) -> Path:
        """Settings, classes, data fingerprint and metrics of the run."""
        return self.folder / "run.json"

    @property
    def splits_file(self) -> Path:
        """Images of each split."""
        return self.folder / "splits.json"

    @property
    def plan_file(self) -> Path:
        """Settings of a training that is not finished."""
        return self.folder / "plan.json"

    @property
    def last_file(self) -> Path:
        """State from which an unfinished training resumes."""
        return self.folder / "last.ckpt"

    @property
    def metrics_file(self) -> Path:
        """Metrics of each epoch."""
        return self.folder / "metrics.csv"

    @property
    def evaluation_folder(self) -> Path:
        """Metrics and plots for the validation and test images."""
        return self.folder / "evaluation"

    @property
    def export_folder(self) -> Path:
        """Folder of the exported models."""
        return self.folder / "export"

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
    candidates = [
        Run(folder) for folder in (root.iterdir() if root.is_dir() else ()) if not folder.name.startswith(".")
    ]
    trained = [run for run in candidates if run.has_checkpoint]
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
