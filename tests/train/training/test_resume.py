"""Plan and state of an unfinished run, and runs that cannot be resumed."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError, ModelError
from ctonnx.images import Preprocessing
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.resume import (
    RunPlan,
    find_resumable_run,
    forget_plan,
    load_plan,
    load_state,
    remove_leftovers_of_runs,
    save_plan,
)
from ctonnx_train.training.train import resume

pytestmark = pytest.mark.usefixtures("folder")

PLAN = RunPlan(
    data=Path("/data/scans"),
    settings=TrainSettings(weights="w.pth", positive=("a", "b"), group_regex=r"p(\d)", monitor="macro_f1"),
    preprocessing=Preprocessing(size=64, color="rgb", crop="body", resize="pad", intensity="normalize"),
    class_names={"A": "a"},
    fingerprint="f" * 64,
)


@pytest.fixture
def run(folder: Path) -> Run:
    """An empty run."""
    (folder / "runs" / "one").mkdir(parents=True)
    return Run(Path("runs/one"))


def test_a_plan_is_read_as_it_was_written(run: Run) -> None:
    save_plan(run, PLAN)
    assert load_plan(run) == PLAN


def test_a_plan_of_an_earlier_release_keeps_its_recipe(run: Run) -> None:
    save_plan(run, PLAN)
    plan = json.loads(run.plan_file.read_text(encoding="utf-8"))
    del plan["settings"]["augmentation"], plan["preprocessing"]["crop"], plan["preprocessing"]["intensity"]
    run.plan_file.write_text(json.dumps(plan), encoding="utf-8")
    found = load_plan(run)
    assert found.settings == replace(PLAN.settings, augmentation="standard")
    assert found.preprocessing == Preprocessing(size=64, color="rgb", resize="pad")


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", '{"data": "scans"}', '{"settings": {"positive": [], "pace": 1}}']
)
def test_a_damaged_plan_is_reported(text: str | None, run: Run) -> None:
    if text is not None:
        run.plan_file.write_text(text, encoding="utf-8")
    with pytest.raises(
        ModelError, match=r"^expected the settings of the training in 'runs/one/plan\.json', found .*; train again$"
    ):
        load_plan(run)


def test_a_finished_run_forgets_its_plan(run: Run) -> None:
    save_plan(run, PLAN)
    run.last_file.touch()
    forget_plan(run)
    assert os.listdir(run.folder) == []
    forget_plan(run)


@pytest.mark.parametrize("typed", ["runs/one", "one"])
def test_an_unfinished_run_is_found_by_its_folder_and_its_name(typed: str, run: Run) -> None:
    save_plan(run, PLAN)
    assert find_resumable_run(Path(typed)).folder.resolve() == run.folder.resolve()


@pytest.mark.parametrize("typed", ["runs/one", "one"])
def test_a_finished_run_is_not_resumed(typed: str, run: Run) -> None:
    run.weights_file.touch()
    run.record_file.touch()
    message = (
        "expected an unfinished run to resume, found that 'runs/one' is finished; for more epochs, start a new "
        "training from its weights: ctonnx train DATA --weights runs/one/model.safetensors"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        find_resumable_run(Path(typed))


def test_a_folder_that_is_not_a_run_is_not_resumed() -> None:
    message = (
        "expected an unfinished run's folder (with plan.json) at 'other' or 'runs/other', found none; list them "
        "with: ls runs"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        resume(Path("other"))


def test_without_an_epoch_there_is_no_state(run: Run) -> None:
    assert load_state(run) is None


class Trap:
    """An object that no file may create."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_a_damaged_state_is_reported_and_none_of_its_code_is_run(run: Run, folder: Path) -> None:
    contents: list[Any] = [b"", b"PK\x03\x04 and no more", {"epoch": 1}, {"callbacks": Trap()}]
    for content in contents:
        if isinstance(content, bytes):
            run.last_file.write_bytes(content)
        else:
            torch.save(content, run.last_file)
        with pytest.raises(
            ModelError,
            match=r"^expected the state of an unfinished training in 'runs/one/last\.ckpt', found a "
            r"damaged file \(.*\); remove it to start this run again from its first epoch$",
        ):
            load_state(run)
    assert not (folder / "sprung").exists()


def test_leftovers_of_killed_processes_in_runs_are_removed_and_reported(
    run: Run, leave_behind: Callable[[Path], Path]
) -> None:
    run.evaluation_folder.mkdir()
    left = [leave_behind(run.last_file), leave_behind(run.evaluation_folder / "valid")]
    lines = list[str]()
    remove_leftovers_of_runs(run.folder.parent, lines.append)
    assert lines == [
        f"removed 1 temporary file or folder of a killed process from '{file.parent}': '{file.name}'" for file in left
    ]
    again = leave_behind(run.metrics_file)
    remove_leftovers_of_runs(run.folder, lines.append)
    assert not again.exists()
    assert os.listdir(run.folder) == ["evaluation"]
    assert os.listdir(run.evaluation_folder) == []
