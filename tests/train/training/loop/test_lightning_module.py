"""One phase of the training: what learns, how fast, on what images, and what is logged."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ctonnx_train.network.classifier import STAGES, CTClassifier
from ctonnx_train.training.loop.augmentation import Augmentation
from ctonnx_train.training.loop.batches import Batch, PixelDataset
from ctonnx_train.training.loop.batches import batches as batches_of
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import MONITORS, Phase, TrainSettings, plan

DatasetOf = Callable[..., PixelDataset]

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


@pytest.fixture
def batches(dataset_of: DatasetOf) -> Callable[..., DataLoader[Batch]]:
    """A function that returns batches of two images in order, whose labels are 0, 1, 0, 1 ..."""

    def make(images: int, size: int = 32) -> DataLoader[Batch]:
        pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 1), dtype=np.uint8)
        labels = [number % 2 for number in range(images)]
        return batches_of(dataset_of(pixels, labels), 2, range(images), on_gpu=False, drop_last=False)

    return make


def trainer_of(epochs: int = 1, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


Fit = Callable[..., tuple[pl.Trainer, list[float]]]


@pytest.fixture
def fit(batches: Callable[..., DataLoader[Batch]]) -> Fit:
    """A function that trains a phase on `steps` batches of two an epoch; returns the trainer and each step's rate."""

    def run(phase: Phase, *, steps: int, epochs: int = 1, **options: Any) -> tuple[pl.Trainer, list[float]]:
        rates = Rates()
        trainer = trainer_of(epochs, rates)
        torch.manual_seed(0)
        task = ClassificationTask(CTClassifier(2), phase, **options)
        trainer.fit(task, batches(2 * steps), batches(3))
        return trainer, rates.used

    return run


@pytest.fixture
def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the head the pixels themselves, where only the optimizer's steps matter."""
    monkeypatch.setattr(CTClassifier, "features", lambda self, pixels: pixels.float().repeat(1, 256, 1, 1) / 255)


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


def test_frozen_stages_keep_their_weights_and_their_batch_normalizations_statistics(
    batches: Callable[..., DataLoader[Batch]],
) -> None:
    network = CTClassifier(2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    phase = replace(FINE_TUNE, learning_rate=1e-2)
    trainer_of().fit(ClassificationTask(network, phase), batches(4), batches(2))
    changed = {
        ".".join(name.split(".")[: 2 if name.startswith("backbone") else 1])
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"backbone.layer4", "head"}


@pytest.mark.parametrize(("phase", "works"), [(SCRATCH, False), (HEAD, True), (FINE_TUNE, True)])
def test_dropout_is_active_only_if_the_phase_has_it(phase: Phase, works: bool) -> None:
    head = ClassificationTask(CTClassifier(2), phase).train().network.head
    assert [head.dropout1.training, head.dropout2.training] == [works, works]


@pytest.mark.usefixtures("no_backbone")
def test_from_scratch_all_weights_are_held_and_decay(fit: Fit) -> None:
    trainer, _ = fit(SCRATCH, steps=3)
    (optimizer,) = trainer.optimizers
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(CTClassifier(2).parameters()))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.02}


@pytest.mark.usefixtures("no_backbone")
@pytest.mark.parametrize(("steps", "epochs"), [(20, 1), (5, 4)])
def test_a_one_cycle_rate_rises_for_15_percent_and_ends_with_the_last_step(steps: int, epochs: int, fit: Fit) -> None:
    _, rates = fit(SCRATCH, steps=steps, epochs=epochs)
    assert len(rates) == 20
    assert rates[0] == pytest.approx(5e-4 / 25)
    assert rates[2] == max(rates) == pytest.approx(5e-4)
    assert rates[:3] == sorted(rates[:3])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(5e-4 / 25 / 1e4)


@pytest.mark.usefixtures("no_backbone")
@pytest.mark.parametrize("steps", range(1, 15))
def test_a_one_cycle_rate_can_have_any_number_of_steps(steps: int, fit: Fit) -> None:
    _, rates = fit(SCRATCH, steps=steps)
    assert len(rates) == steps


@pytest.mark.usefixtures("no_backbone")
def test_a_constant_rate_is_constant(fit: Fit) -> None:
    _, rates = fit(FINE_TUNE, steps=3, epochs=2)
    assert rates == [1e-5] * 6


def always(logits: list[float]) -> Callable[..., Any]:
    return lambda self, pixels: torch.tensor([logits]).repeat(len(pixels), 1).requires_grad_()


def test_the_losses_are_means_over_the_images_of_an_epoch(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    # The network returns logits (1, 0) for any image; two of three images are of class 0.
    monkeypatch.setattr(CTClassifier, "forward", always([1.0, 0.0]))
    trainer, _ = fit(HEAD, steps=2)
    right, wrong = (
        float(nn.functional.cross_entropy(torch.tensor([1.0, 0.0]), torch.tensor(label))) for label in (0, 1)
    )
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged == {
        "train_loss": pytest.approx((2 * right + 2 * wrong) / 4),
        "valid_loss": pytest.approx((2 * right + wrong) / 3),
        "valid_accuracy": pytest.approx(2 / 3),
        "valid_balanced_accuracy": pytest.approx(1 / 2),
        "valid_macro_auroc": pytest.approx(1 / 2),
        "valid_macro_f1": pytest.approx((0.8 + 0) / 2),
    }


def test_class_weights_weigh_the_training_loss_and_not_validations(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CTClassifier, "forward", always([1.0, 0.0]))
    weighted, plain = (
        {name: float(value) for name, value in fit(HEAD, steps=2, class_weights=weights)[0].callback_metrics.items()}
        for weights in ([0.5, 2.0], None)
    )
    losses = [float(nn.functional.cross_entropy(torch.tensor([1.0, 0.0]), torch.tensor(label))) for label in (0, 1)]
    assert weighted["train_loss"] == pytest.approx((0.5 * losses[0] + 2.0 * losses[1]) / 2.5)
    assert plain["train_loss"] == pytest.approx(sum(losses) / 2)
    assert weighted["valid_loss"] == plain["valid_loss"]


def test_the_validation_metrics_are_scikit_learns_over_all_images_at_once(
    batches: Callable[..., DataLoader[Batch]],
) -> None:
    torch.manual_seed(1)
    network = CTClassifier(2)
    task, loader = ClassificationTask(network, SCRATCH), batches(9)
    trainer = trainer_of()
    (logged,) = trainer.validate(task, loader, verbose=False)
    with torch.inference_mode():
        logits = torch.cat([network.eval()(pixels) for pixels, _ in loader])
    labels = torch.cat([labels for _, labels in loader])
    predicted = logits.argmax(1)
    assert logged == {
        "valid_loss": pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5),
        "valid_accuracy": pytest.approx(float((predicted == labels).double().mean())),
        "valid_balanced_accuracy": pytest.approx(balanced_accuracy_score(labels, predicted)),
        "valid_macro_auroc": pytest.approx(roc_auc_score(labels, logits.softmax(1)[:, 1])),
        "valid_macro_f1": pytest.approx(f1_score(labels, predicted, average="macro")),
    }


@pytest.mark.parametrize(("broken", "loss"), [("nan", "nan"), ("inf", "nan"), ("-inf", "inf")])
def test_outputs_that_are_not_finite_have_no_metrics_but_an_infinite_loss(
    broken: str, loss: str, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CTClassifier, "forward", always([float(broken), 0.0]))
    trainer, _ = fit(HEAD, steps=1)
    logged = {name: str(float(value)) for name, value in trainer.callback_metrics.items() if name.startswith("valid_")}
    assert logged == {f"valid_{name}": loss if name == "loss" else "nan" for name in MONITORS}


def test_a_metric_that_is_not_defined_is_logged_as_not_a_number(batches: Callable[..., DataLoader[Batch]]) -> None:
    trainer = trainer_of()
    (logged,) = trainer.validate(ClassificationTask(CTClassifier(2), HEAD), batches(1), verbose=False)
    assert list(logged) == [f"valid_{name}" for name in MONITORS]
    assert [name for name, value in logged.items() if math.isnan(value)] == ["valid_macro_auroc"]


def test_metrics_that_are_no_longer_finite_do_not_stay_those_of_the_epoch_before(
    batches: Callable[..., DataLoader[Batch]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, float]] = []

    class Noting(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})
            monkeypatch.setattr(CTClassifier, "forward", always([float("nan"), 0.0]))

    monkeypatch.setattr(CTClassifier, "forward", always([1.0, 0.0]))
    trainer_of(2, Noting()).fit(ClassificationTask(CTClassifier(2), HEAD), batches(4), batches(4))
    first, second = ([epoch[f"valid_{name}"] for name in MONITORS] for epoch in logged)
    assert all(map(math.isfinite, first))
    assert all(map(math.isnan, second))


class Seen(Augmentation):
    """Notes the sizes and the progress that it was asked for, and changes nothing but the size."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int | None] = []
        self.progress: list[float] = []

    def at(self, progress: float) -> "Seen":
        self.progress.append(progress)
        return self

    def __call__(self, images: Tensor, size: int | None = None) -> Tensor:
        self.sizes.append(size)
        return super().__call__(images, size)


@pytest.mark.parametrize(
    ("phase", "sizes", "progress"),
    [
        (replace(SCRATCH, epochs=3), [32, 32, 32, 32, 64, 64], [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1, 1]),
        (HEAD, [64, 64, 64, 64, 64, 64], [1] * 6),
    ],
)
def test_the_first_epochs_from_scratch_train_on_smaller_and_less_changed_images_and_validation_never_does(
    phase: Phase,
    sizes: list[int],
    progress: list[float],
    batches: Callable[..., DataLoader[Batch]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes: set[tuple[int, ...]] = set()
    features = CTClassifier.features

    def spy(network: CTClassifier, pixels: Tensor) -> Tensor:
        if not task.training:
            shapes.add(tuple(pixels.shape[1:]))
        return features(network, pixels)

    monkeypatch.setattr(CTClassifier, "features", spy)
    augmentation = Seen()
    task = ClassificationTask(CTClassifier(2), phase, augmentation=augmentation)
    trainer_of(3).fit(task, batches(4, size=64), batches(2, size=64))
    assert augmentation.sizes == sizes
    assert augmentation.progress == pytest.approx(progress)
    assert task.image_size == 64
    assert shapes == {(1, 64, 64)}
    assert task.data_timer.seconds > 0


def draws(seed: int, phase: Phase, epoch: int, rank: int) -> list[float]:
    task = ClassificationTask(CTClassifier(2), phase, seed=seed)
    # The values that Lightning has in one of several processes.
    patched = type("Task", (ClassificationTask,), {"current_epoch": epoch, "global_rank": rank})
    task.__class__ = patched
    task.on_train_epoch_start()
    drawn: list[float] = torch.rand(3).tolist()
    return drawn


def test_what_is_drawn_depends_on_the_seed_the_phase_the_epoch_and_the_process_alone() -> None:
    cases = [
        (seed, phase, epoch, rank)
        for seed in (0, 1)
        for phase in (HEAD, FINE_TUNE)
        for epoch in (0, 1, 255)
        for rank in (0, 1)
    ]
    drawn = {tuple(draws(*case)) for case in cases}
    assert len(drawn) == len(cases)
    assert drawn == {tuple(draws(*case)) for case in reversed(cases)}


def test_a_task_returns_its_networks_logits() -> None:
    network = CTClassifier(3).eval()
    task = ClassificationTask(network, SCRATCH).eval()
    pixels = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    torch.testing.assert_close(task(pixels), network(pixels))
    assert task.phase.stages == STAGES


def test_a_compiled_network_trains_the_networks_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []

    def compile_it(module: nn.Module, *, dynamic: bool) -> Callable[[Tensor], Tensor]:
        assert not dynamic
        compiled.append(module)
        return lambda pixels: module(pixels) + 1

    monkeypatch.setattr("torch.compile", compile_it)
    network = CTClassifier(2).eval()
    task = ClassificationTask(network, SCRATCH, compile_network=True).eval()
    assert compiled == [network]
    pixels = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    torch.testing.assert_close(task(pixels), network(pixels) + 1)
    assert set(task.state_dict()) == {f"network.{name}" for name in network.state_dict()}


@pytest.mark.parametrize(("device", "training", "measured"), [("cuda", True, 1), ("cuda", False, 0), ("cpu", True, 0)])
def test_copies_of_training_images_to_a_gpu_are_measured(
    device: str, training: bool, measured: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy to a GPU does not wait, so the time until the batch is there does not include it."""
    blocks: list[torch.device] = []

    @contextmanager
    def timed(place: torch.device) -> Iterator[None]:
        blocks.append(place)
        yield

    task = ClassificationTask(CTClassifier(2), HEAD)
    monkeypatch.setattr(task, "_trainer", SimpleNamespace(training=training))
    monkeypatch.setattr(task.data_timer, "timed", timed)
    monkeypatch.setattr(pl.LightningModule, "transfer_batch_to_device", lambda module, batch, *others: batch)
    batch = torch.zeros(1), torch.zeros(1)
    assert task.transfer_batch_to_device(batch, torch.device(device), 0) is batch
    assert len(blocks) == measured
