"""One phase of the training: what learns, how fast, and what is logged."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ctonnx_train.dataset import PixelDataset
from ctonnx_train.network import STAGES, CTClassifier
from ctonnx_train.recipe import Phase, TrainSettings, plan
from ctonnx_train.task import ClassificationTask

pytestmark = [
    pytest.mark.usefixtures("small_backbone"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),  # the images are in memory
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning's use of a torch newer than itself
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training.*"),  # the frozen stages
]

SCRATCH = plan(TrainSettings(weights="none", epochs=1))[0]
HEAD, FINE_TUNE = plan(TrainSettings(epochs=2))


class Rates(pl.Callback):
    """Notes the learning rate of each step, before it is made."""

    def __init__(self) -> None:
        self.used: list[float] = []

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.used.append(float(optimizer.param_groups[0]["lr"]))


def batches(images: int) -> DataLoader[tuple[Tensor, int]]:
    """Returns batches of two images, whose labels are 0, 1, 0, 1 ..."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 32, 32, 1), dtype=np.uint8)
    return DataLoader(PixelDataset(pixels, [number % 2 for number in range(images)]), 2)


@pytest.fixture
def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the head the pixels themselves, where only the optimizer's steps matter."""
    monkeypatch.setattr(CTClassifier, "features", lambda self, pixels: pixels.float().repeat(1, 512, 1, 1) / 255)


def fit(phase: Phase, *, steps: int, epochs: int = 1) -> tuple[pl.Trainer, list[float]]:
    """Trains a phase on `steps` batches of two images an epoch, and returns the trainer and each step's rate."""
    rates = Rates()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[rates],
        logger=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(0)
    task = ClassificationTask(CTClassifier(2), phase)
    trainer.fit(task, batches(2 * steps), batches(3))
    return trainer, rates.used


@pytest.mark.parametrize("phase", [HEAD, FINE_TUNE])
def test_the_optimizer_holds_only_what_learns(phase: Phase) -> None:
    network = CTClassifier(2)
    optimizer = ClassificationTask(network, phase).configure_optimizers()
    assert isinstance(optimizer, torch.optim.AdamW)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    parts: list[nn.Module] = [network.head] if phase is HEAD else [network.backbone.layer4, network.head]
    assert held == {id(parameter) for part in parts for parameter in part.parameters()}
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(phase.learning_rate, 0.0)]


def test_a_task_freezes_the_stages_that_its_phase_does_not_train() -> None:
    network = CTClassifier(2)
    ClassificationTask(network, HEAD)
    learns = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learns == {"head"}
    ClassificationTask(network, SCRATCH)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(("phase", "works"), [(SCRATCH, False), (HEAD, True), (FINE_TUNE, True)])
def test_dropout_works_where_the_phase_says_so(phase: Phase, works: bool) -> None:
    head = ClassificationTask(CTClassifier(2), phase).train().network.head
    assert [head.dropout1.training, head.dropout2.training] == [works, works]


@pytest.mark.usefixtures("no_backbone")
def test_from_scratch_all_weights_are_held_and_decay() -> None:
    trainer, _ = fit(SCRATCH, steps=3)
    (optimizer,) = trainer.optimizers
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(CTClassifier(2).parameters()))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.02}


@pytest.mark.usefixtures("no_backbone")
@pytest.mark.parametrize(("steps", "epochs"), [(20, 1), (5, 4)])
def test_a_one_cycle_rate_rises_for_a_quarter_and_ends_with_the_last_step(steps: int, epochs: int) -> None:
    _, rates = fit(SCRATCH, steps=steps, epochs=epochs)
    assert len(rates) == 20
    assert rates[0] == pytest.approx(1e-3 / 25)
    assert rates[4] == max(rates) == pytest.approx(1e-3)
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(1e-3 / 25 / 1e4)


@pytest.mark.usefixtures("no_backbone")
@pytest.mark.parametrize("steps", range(1, 9))
def test_a_one_cycle_rate_can_have_any_number_of_steps(steps: int) -> None:
    _, rates = fit(SCRATCH, steps=steps)
    assert len(rates) == steps


@pytest.mark.usefixtures("no_backbone")
def test_a_constant_rate_is_constant() -> None:
    _, rates = fit(FINE_TUNE, steps=3, epochs=2)
    assert rates == [1e-5] * 6


def test_the_losses_and_the_accuracy_are_means_over_the_images_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    # A network that says class 0 with logits (1, 0) whatever it sees: of three images two are of class 0.
    answer: Callable[..., Any] = lambda self, pixels: torch.tensor([[1.0, 0.0]]).repeat(len(pixels), 1).requires_grad_()  # noqa: E731
    monkeypatch.setattr(CTClassifier, "forward", answer)
    trainer, _ = fit(HEAD, steps=2)
    right, wrong = (
        float(nn.functional.cross_entropy(torch.tensor([1.0, 0.0]), torch.tensor(label))) for label in (0, 1)
    )
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged == {
        "train_loss": pytest.approx((2 * right + 2 * wrong) / 4),
        "valid_loss": pytest.approx((2 * right + wrong) / 3),
        "valid_accuracy": pytest.approx(2 / 3),
    }


def test_a_task_answers_with_its_networks_logits() -> None:
    network = CTClassifier(3).eval()
    task = ClassificationTask(network, SCRATCH).eval()
    pixels = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    torch.testing.assert_close(task(pixels), network(pixels))
    assert task.phase.stages == STAGES
