"""Plan and state of an unfinished run, from which its training can be resumed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.run import RUNS, Run
from ctonnx.errors import DataError, ModelError
from ctonnx.images import Preprocessing
from ctonnx.system.file_reading import check_file, read_text, reason_of
from ctonnx.system.files import write_text
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log
from ctonnx_train.training.recipe import TrainSettings, complete_settings

__all__ = [
    "RunPlan",
    "find_resumable_run",
    "forget_plan",
    "load_plan",
    "load_state",
    "remove_leftovers_of_runs",
    "save_plan",
]


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Settings of a training.

    `data` is the absolute path of the dataset, and its fingerprint is empty before the images have been read.
    `class_names` are canonical names for class folders, by the folder's name. `labels` is the absolute path of the
    labels file, if the dataset has one. `compression` has the settings of a run of `ctonnx compress`.
    """

    data: Path
    settings: TrainSettings
    preprocessing: Preprocessing
    class_names: Mapping[str, str]
    fingerprint: str = ""
    labels: Path | None = None
    compression: Mapping[str, Any] | None = None

    @property
    def data_name(self) -> str:
        """Name of the dataset: that of its folder, or of its file without the extension."""
        return self.data.stem if self.data.is_file() else self.data.name


def save_plan(run: Run, plan: RunPlan) -> None:
    """Writes a run's plan.json."""
    paths = {"data": str(plan.data), "labels": None if plan.labels is None else str(plan.labels)}
    write_text(run.plan_file, json.dumps({**asdict(plan), **paths}, indent=2) + "\n")


def load_plan(run: Run) -> RunPlan:
    """Reads a run's plan.json.

    Raises:
        ModelError: If the file is missing or damaged.
    """
    try:
        values = json_schema.parse(read_text(run.plan_file))
        if isinstance(values, dict) and isinstance(settings := values.get("settings"), dict):
            values["settings"] = complete_settings(settings)
        return json_schema.read(RunPlan, values)
    except (OSError, ValueError) as error:
        found = reason_of(error) if isinstance(error, OSError) else f"something else ({error})"
        raise ModelError(
            f"expected the settings of the training in '{run.plan_file}', found {found}; train again"
        ) from error


def forget_plan(run: Run) -> None:
    """Removes the plan and the state of a finished run."""
    run.plan_file.unlink(missing_ok=True)
    run.last_file.unlink(missing_ok=True)


def find_resumable_run(run: Path, root: Path = RUNS) -> Run:
    """Returns the unfinished run in a folder, or with a name below `root`.

    Raises:
        DataError: If there is no such run, or it is finished.
    """
    for found in (Run(run), Run(root / run)):
        if found.plan_file.is_file():
            return found
        if found.has_checkpoint:
            raise DataError(
                f"expected an unfinished run to resume, found that '{found.folder}' is finished; "
                "for more epochs, start a new training from its weights: "
                f"ctonnx train DATA --weights {found.weights_file}"
            )
    raise DataError(
        f"expected an unfinished run's folder (with plan.json) at '{run}' or '{root / run}', found none; "
        "list them with: ls runs"
    )


def load_state(run: Run) -> dict[str, Any] | None:
    """Returns the contents of last.ckpt, or None if no epoch has finished; only plain data is unpickled.

    Raises:
        ModelError: If the file is damaged.
    """
    if not run.last_file.exists():
        return None
    try:
        check_file(run.last_file)
        state: dict[str, Any] = torch.load(run.last_file, map_location="cpu", weights_only=True)
        _ = state["callbacks"]["LastCheckpoint"]["phase"], state["callbacks"]["BestWeights"]["epoch"]
    # A damaged archive raises anything from RuntimeError to KeyError, depending on the place.
    except Exception as error:
        raise ModelError(
            f"expected the state of an unfinished training in '{run.last_file}', found a damaged file "
            f"({' '.join(str(error).split())[:200]}); remove it to start this run again from its first epoch"
        ) from error
    return state


def remove_leftovers_of_runs(root: Path, log: Log) -> None:
    """Removes temporary files of killed processes from `root` and every run below it; logs where there were some."""
    runs = [Run(folder) for folder in (root, *sorted({*root.glob("*/"), *root.glob("**/folds/*/")}))]
    remove_leftovers((folder for run in runs for folder in (run.folder, run.evaluation_folder)), log)
