"""Resumed trainings: the same bytes as those of an uninterrupted training."""

import csv
import json
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError, ModelError
from ctonnx.images import Preprocessing
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.system.files import atomic_folder
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.runs.splits_file import read_patients
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.resume import load_plan
from ctonnx_train.training.train import resume, train

ImagesIn = Callable[[Path, Mapping[str, int]], Path]
Settings = dict[str, Any]

SMALL = Preprocessing(size=32)
SCRATCH: Settings = {"weights": "none", "epochs": 4}
TWO_PHASES: Settings = {"weights": "w.safetensors", "epochs": 6}

pytestmark = pytest.mark.usefixtures("small_backbone", "no_reports", "on_the_cpu")


class Killed(Exception):
    """Replaces any cause that ends a process."""


@pytest.fixture(autouse=True)
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images_in: ImagesIn, small_backbone: None, no_plots: None
) -> Path:
    """A working folder with scans and the weights of a backbone; each epoch is written, however long it takes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ctonnx_train.training.loop.callbacks._WRITING_SHARE", float("inf"))
    images_in(tmp_path / "scans", {"train/a": 5, "train/b": 4, "valid/a": 2, "valid/b": 2, "test/b": 1})
    torch.manual_seed(0)
    save_file(CTClassifier(2).backbone.state_dict(), tmp_path / "w.safetensors")
    return tmp_path


def start(name: str, **changes: Any) -> Run:
    settings = replace(TrainSettings(batch_size=4, precision="fp32"), **changes)
    return train(Path("scans"), settings=settings, preprocessing=SMALL, name=name).run


def rows(run: Run) -> list[dict[str, str]]:
    """Returns the rows of metrics.csv without measured times."""
    with run.metrics_file.open(encoding="utf-8", newline="") as file:
        return [{**row, "seconds": "", "train_seconds": "", "data_seconds": ""} for row in csv.DictReader(file)]


def stop_in(epoch: int) -> pytest.MonkeyPatch:
    """Ends the training at the second step of an epoch, counted over both phases; the returned patch undoes it."""
    patch, step, begun = pytest.MonkeyPatch(), ClassificationTask.training_step, list[int]()

    def stopping(task: ClassificationTask, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        begun.extend([1] * (batch_index == 0))
        if len(begun) == epoch and batch_index == 1:
            raise Killed
        return step(task, batch, batch_index)

    patch.setattr(ClassificationTask, "training_step", stopping)
    return patch


def stopped(name: str, epoch: int, **changes: Any) -> Run:
    patch = stop_in(epoch)
    with pytest.raises(Killed):
        start(name, **changes)
    patch.undo()
    return Run(Path("runs") / name)


def same(run: Run, other: Run) -> None:
    """Asserts that two finished runs have the same contents."""
    assert run.weights_file.read_bytes() == other.weights_file.read_bytes()
    assert rows(run) == rows(other)
    first, second = (json.loads(one.record_file.read_text(encoding="utf-8")) for one in (run, other))
    for document in (first, second):
        document["created"] = None
        for name in ("seconds", "seconds_per_epoch", "data_share"):
            document["training"][name] = None
    assert first == second
    assert {file.name for file in run.folder.iterdir()} == {file.name for file in other.folder.iterdir()}


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        (SCRATCH, [3]),  # the first on images of full size
        (TWO_PHASES, [3, 6]),  # the third is the first of phase 2: phase 1 had just ended
        ({**SCRATCH, "imbalance": "sampler", "monitor": "accuracy"}, [3]),
        ({**TWO_PHASES, "monitor": "macro_f1", "unfreeze_from": "stem"}, [5]),
        ({**SCRATCH, "precision": "bf16"}, [3]),
    ],
    ids=["scratch", "two phases", "sampler", "whole network", "bf16"],
)
def test_a_resumed_training_ends_with_the_bytes_of_one_that_was_not_stopped(
    changes: Settings, epochs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start("whole", **changes)
    for epoch in epochs:
        run = stopped(f"stopped-{epoch}", epoch, **changes)
        assert len(rows(run)) == epoch - 1
        assert not run.weights_file.exists()
        assert (run.plan_file.exists(), run.last_file.exists()) == (True, True)
        torch.manual_seed(99)  # nothing of what happened before counts
        same(resume(run.folder).run, whole)


def test_a_training_can_be_stopped_and_resumed_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = start("whole", **TWO_PHASES)
    run = stopped("stopped", 2, **TWO_PHASES)
    for begun in (2, 2, 1):  # in epochs 3, 4 and 4 again
        patch = stop_in(begun)
        with pytest.raises(Killed):
            resume(run.folder)
        patch.undo()
    assert len(rows(run)) == 3
    same(resume(run.folder).run, whole)


def losses_of(table: Mapping[int, list[float]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the validation losses of each phase."""
    validate = ClassificationTask.on_validation_epoch_end

    def replaced(task: ClassificationTask) -> None:
        loss = table[task.phase.number][task.current_epoch]
        log_dict = task.log_dict
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(task, "log_dict", lambda values, **options: log_dict({**values, "valid_loss": loss}))
            validate(task)

    monkeypatch.setattr(ClassificationTask, "on_validation_epoch_end", replaced)


def test_early_stopping_continues_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    losses_of({1: [1.0, 0.9, 0.95, 0.97, 0.1], 2: [0.8, 0.85, 0.86] + [0.1] * 7}, monkeypatch)
    changes = {**TWO_PHASES, "epochs": 15, "patience": 2}
    whole = start("whole", **changes)
    assert [row["phase"] for row in rows(whole)] == ["head"] * 4 + ["fine-tune"] * 3
    for epoch in (4, 7):
        run = stopped(f"stopped-{epoch}", epoch, **changes)
        result = resume(run.folder)
        assert (result.record.training["epochs"], result.record.training["best_epoch"]) == (7, 5)
        same(result.run, whole)


def test_a_run_whose_last_file_is_some_epochs_old_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ctonnx_train.training.loop.callbacks._WRITING_SHARE", 1e-9
    )  # only each phase's first epoch is written
    whole = start("whole", **TWO_PHASES)
    run = stopped("stopped", 6, **TWO_PHASES)
    assert len(rows(run)) == 5
    lines: list[str] = []
    same(resume(run.folder, log=lines.append).run, whole)
    assert "resuming after epoch 3 of 6" in lines


KILL = """
import os, signal
import ctonnx_train.training.loop.callbacks, ctonnx_train.training.loop.lightning_module
ctonnx_train.training.loop.callbacks._WRITING_SHARE = float("inf")
step = ctonnx_train.training.loop.lightning_module.ClassificationTask.training_step
def killing(task, batch, batch_index):
    if task.current_epoch == 2 and batch_index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(task, batch, batch_index)
ctonnx_train.training.loop.lightning_module.ClassificationTask.training_step = killing
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_process_killed_in_the_middle_of_an_epoch_is_resumed_to_the_same_bytes(
    start_ctonnx: Callable[..., "Popen[str]"], leave_behind: Callable[[Path], Path]
) -> None:
    options = "--weights none --epochs 4 --batch-size 4 --image-size 32 --intensity as-is --precision fp32"
    options += " --augmentation acquisition"
    process = start_ctonnx("train", "scans", *options.split(), "--name", "killed", before=KILL)
    _, error = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, error
    run = Run(Path("runs/killed"))
    assert len(rows(run)) == 2
    leave_behind(run.last_file)  # as if it had been killed again, while it wrote the file
    same(resume(run.folder).run, start("whole", **SCRATCH))


def test_a_folder_that_an_export_is_writing_is_left_alone(leave_behind: Callable[[Path], Path]) -> None:
    run = stopped("stopped", 2, **SCRATCH)
    leave_behind(run.last_file)
    with atomic_folder(run.export_folder) as writing:
        (writing / "model.onnx").touch()
        assert resume(run.folder).record.training["epochs"] == 4
        assert {path.stem for path in run.folder.glob(".*")} == {writing.stem}
        assert (writing / "model.onnx").exists()


def test_a_file_of_weights_is_found_again_from_another_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped("stopped", 2, **TWO_PHASES)
    plan = json.loads(run.plan_file.read_text(encoding="utf-8"))
    assert plan["settings"]["weights"] == str(folder / "w.safetensors")
    run.last_file.unlink()  # it starts again from the weights
    run.metrics_file.unlink()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert resume(folder / "runs" / "stopped").record.settings["weights"] == str(folder / "w.safetensors")


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_weights_that_are_no_file_keep_their_name(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_train.training.train.load_backbone", lambda network, weights: None)
    run = stopped("stopped", 2, weights=weights, epochs=4)
    assert load_plan(run).settings.weights == weights


def test_a_run_that_was_killed_before_an_epoch_ended_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = start("whole", **TWO_PHASES)
    run = stopped("stopped", 2, **TWO_PHASES)
    run.last_file.unlink()
    run.metrics_file.unlink()
    same(resume(Path("stopped")).run, whole)  # by its name below runs/


@pytest.mark.parametrize("error", [KeyboardInterrupt, Killed])
def test_the_command_to_resume_is_logged_once_an_epoch_has_ended(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    patch = stop_in(2)
    settings = TrainSettings(weights="none", epochs=3, batch_size=4)
    with pytest.raises(Killed):
        train(Path("scans"), settings=settings, preprocessing=SMALL, name="run", log=lines.append)
    assert lines[-1] == "the finished epochs are kept; resume with: ctonnx train --resume runs/run"
    patch.undo()
    # An error of the resumed training does not remove what was there.
    monkeypatch.setattr("ctonnx_train.training.train.prepare", lambda *arguments: (_ for _ in ()).throw(error))
    with pytest.raises(error):
        resume(Path("run"), log=lines.append)
    assert Run(Path("runs/run")).last_file.exists()
    assert lines[-1] == "the finished epochs are kept; resume with: ctonnx train --resume runs/run"


def test_the_data_must_be_what_it_was(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    run = stopped("stopped", 2, **SCRATCH)
    shutil.move(folder / "scans/train/a/scan 0.png", folder / "scans/valid/a/moved.png")
    message = (
        f"expected the images that 'runs/stopped' was trained on in '{folder / 'scans'}', found that they have changed "
        "since; restore them, or train again"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        resume(run.folder)
    assert run.last_file.exists()
    shutil.move(folder / "scans/valid/a/moved.png", folder / "scans/train/a/scan 0.png")
    assert resume(run.folder).run == run


def test_made_splits_groups_and_dropped_leaks_are_the_same_when_a_training_goes_on(
    images_in: ImagesIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    images_in(Path("flat"), {"a": 8, "b cases": 8})
    shutil.copy("flat/a/scan 0.png", "flat/a/copy.png")
    shutil.copy("flat/a/scan 1.png", "flat/b cases/copy.png")
    settings = TrainSettings(
        weights="none",
        epochs=2,
        batch_size=4,
        seed=3,
        drop_leaks=True,
        group_regex="(scan [0-3])",
        positive=("c",),
        precision="fp32",
    )

    def begin(name: str) -> Run:
        return train(Path("flat"), settings=settings, preprocessing=SMALL, class_names={"b cases": "c"}, name=name).run

    whole = begin("whole")
    patch = stop_in(2)
    with pytest.raises(Killed):
        begin("stopped")
    patch.undo()
    run = resume(Path("stopped")).run
    same(run, whole)
    assert run.splits_file.read_bytes() == whole.splits_file.read_bytes()


def test_a_run_whose_state_is_damaged_starts_again_once_it_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = start("whole", **SCRATCH)
    run = stopped("stopped", 3, **SCRATCH)
    run.last_file.write_bytes(run.last_file.read_bytes()[:5000])
    with pytest.raises(ModelError):
        resume(run.folder)
    run.last_file.unlink()
    same(resume(run.folder).run, whole)


def test_resumed_run_keeps_its_labels_file_and_the_key_of_its_patients(folder: Path) -> None:
    scans = sorted((folder / "scans").rglob("*.png"))
    rows = [f"{file.relative_to(folder / 'scans').as_posix()},{file.parent.name},P{file.stem[-1]}" for file in scans]
    text = "path,label,patient\n" + "\n".join(rows)
    (folder / "scans/labels.csv").write_text(text, encoding="utf-8")
    patch = stop_in(3)
    with pytest.raises(Killed):
        train(
            Path("scans"),
            labels=Path("scans/labels.csv"),
            settings=TrainSettings(batch_size=2, precision="fp32", weights="none", epochs=4),
            preprocessing=SMALL,
            name="k",
        )
    patch.undo()
    run = Run(Path("runs/k"))
    key = run.patients_key_file.read_bytes()
    assert load_plan(run).labels == folder / "scans/labels.csv"
    resume(run.folder)
    assert run.patients_key_file.read_bytes() == key
    patients = read_patients(run, "train")
    assert patients
    assert patients == {path: Pseudonyms(key).of("patient", f"P{Path(path).stem[-1]}") for path in patients}
