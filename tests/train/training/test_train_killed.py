"""A resumed training that is killed at any rename leaves a complete run: the earlier or the later one."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.killing import states_at_each_rename
from torch import Tensor

from ctonnx.artifacts.run import Run
from ctonnx.images import Preprocessing
from ctonnx_train.runs.checkpoint import load_checkpoint
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.train import resume, train

pytestmark = pytest.mark.usefixtures("on_the_cpu", "small_backbone", "no_plots")

SETTINGS = TrainSettings(weights="none", epochs=2, batch_size=4, precision="fp32")


def test_at_every_rename_of_a_resumed_training_there_is_a_complete_run(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_handler: Callable[[int, object], None],
) -> None:
    monkeypatch.setattr("ctonnx_train.training.loop.callbacks._WRITING_SHARE", float("inf"))
    step, validate = ClassificationTask.training_step, ClassificationTask.on_validation_epoch_end

    def improving(task: ClassificationTask) -> None:
        log_dict = task.log_dict
        with pytest.MonkeyPatch.context() as patch:
            loss = 1 / (1 + task.current_epoch)
            patch.setattr(task, "log_dict", lambda values, **options: log_dict({**values, "valid_loss": loss}))
            validate(task)

    monkeypatch.setattr(ClassificationTask, "on_validation_epoch_end", improving)

    def stopping(task: ClassificationTask, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        if task.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)
        return step(task, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", stopping)
        run = train(
            data, settings=SETTINGS, preprocessing=Preprocessing(size=32), name="run", root=tmp_path / "runs"
        ).run
    before = load_checkpoint(run).sha256
    with states_at_each_rename(run.folder, tmp_path / "states") as states:
        resume(run.folder)
    after = load_checkpoint(run).sha256
    assert before != after
    seen: dict[str, Run] = {}
    for state in map(Run, states):
        checkpoint = load_checkpoint(state)
        assert state.has_checkpoint
        assert checkpoint.sha256 == checkpoint.record.weights_sha256
        seen.setdefault(checkpoint.sha256, state)
        for split in ("valid", "test"):
            report = state.evaluation_folder / split / "evaluation.json"
            if report.exists():
                metrics = json.loads(report.read_text(encoding="utf-8"))["metrics"]
                assert metrics["accuracy"] == checkpoint.record.metrics[split]["accuracy"]
                assert metrics["ece"] == checkpoint.record.metrics[split]["ece"]
    assert list(seen) == [before, after]
    # A run killed between the renames of the record and of its weights is resumed to the same run.
    resumed = resume(seen[after].folder).run
    assert load_checkpoint(resumed).sha256 == after
    assert {file.name for file in resumed.folder.iterdir()} == {file.name for file in run.folder.iterdir()}
