"""The folder of a training run: its files, and which run a command means."""

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
"""The folder that holds the runs, below the working folder."""


@dataclass(frozen=True)
class Run:
    """A training run's folder.

    >>> Run(Path("runs/lungs")).model_file("fp32").as_posix()
    'runs/lungs/export/model.fp32.onnx'
    """

    folder: Path

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.folder.resolve().name

    @property
    def weights_file(self) -> Path:
        """The checkpoint's weights."""
        return self.folder / "model.safetensors"

    @property
    def next_weights_file(self) -> Path:
        """The weights of a newer checkpoint, from before its record is written until they take the others' place."""
        return self.folder / "model.next.safetensors"

    @property
    def record_file(self) -> Path:
        """The run's settings, classes, data fingerprint and metrics."""
        return self.folder / "run.json"

    @property
    def splits_file(self) -> Path:
        """Which image stood in which split."""
        return self.folder / "splits.json"

    @property
    def plan_file(self) -> Path:
        """What the training was told, while it is not finished."""
        return self.folder / "plan.json"

    @property
    def last_file(self) -> Path:
        """The state that an unfinished training goes on from."""
        return self.folder / "last.ckpt"

    @property
    def metrics_file(self) -> Path:
        """A row for each epoch."""
        return self.folder / "metrics.csv"

    @property
    def evaluation_folder(self) -> Path:
        """Figures and plots on the validation and test images."""
        return self.folder / "evaluation"

    @property
    def export_folder(self) -> Path:
        """The exported models."""
        return self.folder / "export"

    def model_file(self, precision: str) -> Path:
        """The exported model of one precision, whether it exists or not."""
        return self.export_folder / f"model.{precision}.onnx"

    @property
    def has_export(self) -> bool:
        """Whether a model of it was exported."""
        return bool(exported_files(self.export_folder))

    @property
    def has_checkpoint(self) -> bool:
        """Whether training finished and left a checkpoint."""
        return self.weights_file.is_file() and self.record_file.is_file()

    @property
    def created(self) -> str:
        """When the run was trained (ISO 8601, UTC), or an empty text where its record cannot be read."""
        try:
            return json_schema.load(_Created, self.record_file).created
        except (OSError, ValueError):
            return ""


@dataclass(frozen=True)
class _Created:
    created: str


def newest_run(root: Path = RUNS) -> Run:
    """Returns the run below `root` that was trained last and has a checkpoint.

    Raises:
        ModelError: there is none.
    """
    return trained_runs(root)[-1]


def trained_runs(root: Path) -> list[Run]:
    """Returns the runs below `root` that have a checkpoint, one at least, those trained last at the end."""
    candidates = [
        Run(folder) for folder in (root.iterdir() if root.is_dir() else ()) if not folder.name.startswith(".")
    ]
    trained = [run for run in candidates if run.has_checkpoint]
    if not trained:
        raise ModelError(f"expected a trained run below '{root}/' (in '{Path.cwd()}'), found none; {_NAME_ONE}")
    return sorted(trained, key=lambda run: (run.created, run.name))


def find_run(run: Path | None, root: Path = RUNS) -> Run:
    """Returns the run that is meant by a folder, by a name below `root`, or by None: the newest.

    Raises:
        ModelError: there is no such run, or it has no checkpoint.
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
    """Returns True if a model is named by its file, which may not exist yet."""
    return model is not None and (model.is_file() or model.suffix == ".onnx")


def exported_files(folder: Path) -> list[Path]:
    """Returns the exported models in a folder: FP32, FP16, INT8."""
    files = (folder / f"model.{precision}.onnx" for precision in PRECISIONS)
    return [file for file in files if file.is_file()]
