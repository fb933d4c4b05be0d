"""What happens around an epoch: metrics.csv, the line on the terminal, and the best weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ctonnx_train.callbacks import BestWeights, EpochLog, History
from ctonnx_train.dataset import PixelDataset
from ctonnx_train.network import CTClassifier
from ctonnx_train.recipe import TrainSettings, plan
from ctonnx_train.task import ClassificationTask

pytestmark = [
    pytest.mark.usefixtures("small_backbone"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),  # the images are in memory
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning's use of a torch newer than itself
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training.*"),  # the frozen stages
]

HEADER = "epoch,phase,learning_rate,train_loss,valid_loss,valid_accuracy,seconds"
HEAD = plan(TrainSettings(epochs=2))[0]


def row(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "phase": "head",
        "learning_rate": 0.0001,
        "train_loss": 0.7,
        "valid_loss": 0.69315,
        "valid_accuracy": 0.5,
        "seconds": 1.25,
    }


def test_the_file_is_whole_after_each_epoch(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv", planned=2)
    history.append(row(1))
    assert history.file.read_text(encoding="utf-8").splitlines() == [HEADER, "1,head,0.0001,0.7,0.69315,0.5,1.25"]
    history.append(row(2))
    assert history.file.read_text(encoding="utf-8").splitlines() == [
        HEADER,
        "1,head,0.0001,0.7,0.69315,0.5,1.25",
        "2,head,0.0001,0.7,0.69315,0.5,1.25",
    ]
    assert history.rows == [row(1), row(2)]


def test_a_training_writes_a_row_and_says_a_line_for_each_epoch(tmp_path: Path) -> None:
    history, lines, seen = History(tmp_path / "metrics.csv", planned=5), list[str](), list[int]()

    def say(line: str) -> None:
        lines.append(line)
        seen.append(len(history.file.read_text(encoding="utf-8").splitlines()))

    history.append(row(1))  # of an earlier phase
    best = BestWeights(history)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[EpochLog(history, say), best],
        logger=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(0)
    network = CTClassifier(2)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), dtype=np.uint8)
    batches = DataLoader(PixelDataset(pixels, [0, 1, 0, 1]), 2)
    trainer.fit(ClassificationTask(network, HEAD), batches, batches)
    assert [(one["epoch"], one["phase"], one["learning_rate"]) for one in history.rows] == [
        (1, "head", 0.0001),
        (2, "head", 0.0001),
        (3, "head", 0.0001),
    ]
    for line, one in zip(lines, history.rows[1:], strict=True):
        assert line == (
            f"epoch   {one['epoch']}/5  head       train loss {one['train_loss']:.4f}  "
            f"valid loss {one['valid_loss']:.4f}  valid accuracy {one['valid_accuracy']:.3f}  {one['seconds']:.1f} s"
        )
    assert seen == [3, 4]
    assert (best.epoch, round(best.valid_loss, 5)) == min(
        ((one["epoch"], one["valid_loss"]) for one in history.rows[1:]), key=lambda pair: pair[1]
    )


def test_another_module_than_a_task_is_refused(tmp_path: Path) -> None:
    log = EpochLog(History(tmp_path / "metrics.csv", planned=1), lambda line: None)
    with pytest.raises(TypeError, match=r"^expected a ClassificationTask, found LightningModule$"):
        log.on_train_epoch_end(cast("pl.Trainer", None), pl.LightningModule())


def weigh(task: ClassificationTask, best: BestWeights, history: History, losses: list[float]) -> None:
    """Validates an epoch with each loss, and marks the weights and the statistics of each with its loss."""
    for loss in losses:
        task.network.head.dense3.bias.data.fill_(loss)
        task.network.backbone.bn1.running_mean.fill_(loss)
        trainer = SimpleNamespace(callback_metrics={"valid_loss": torch.tensor(loss)})
        best.on_validation_end(cast("pl.Trainer", trainer), task)
        history.rows.append({})


@pytest.mark.parametrize(
    ("losses", "epoch", "lowest"),
    [
        ([0.5], 1, 0.5),
        ([0.5, 0.25, 0.75], 2, 0.25),
        ([0.5, 0.5], 1, 0.5),
        ([float("nan"), 0.5, float("nan")], 2, 0.5),
    ],
)
def test_the_best_epochs_weights_and_statistics_come_back(
    losses: list[float], epoch: int, lowest: float, tmp_path: Path
) -> None:
    history = History(tmp_path / "metrics.csv", planned=len(losses))
    best = BestWeights(history)
    task = ClassificationTask(CTClassifier(2), HEAD)
    weigh(task, best, history, losses)
    assert (best.epoch, best.valid_loss) == (epoch, lowest)
    best.restore(task.network)
    assert task.network.head.dense3.bias.tolist() == [lowest, lowest]
    assert set(task.network.backbone.bn1.running_mean.tolist()) == {lowest}


def test_the_best_epoch_of_an_earlier_phase_stays_the_best(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv", planned=4)
    best = BestWeights(history)
    network = CTClassifier(2)
    weigh(ClassificationTask(network, HEAD), best, history, [0.5, 0.25])
    weigh(ClassificationTask(network, plan(TrainSettings(epochs=2))[1]), best, history, [0.75, 0.5])
    assert (best.epoch, best.valid_loss) == (2, 0.25)
    best.restore(network)
    assert network.head.dense3.bias.tolist() == [0.25, 0.25]
