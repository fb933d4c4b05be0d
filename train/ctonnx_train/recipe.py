"""The training recipe: which part of the network learns, for how long, at which rate."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ctonnx_train.network import STAGES
from ctonnx_train.weights import NONE

__all__ = ["Phase", "Precision", "Schedule", "TrainSettings", "plan"]

Schedule: TypeAlias = Literal["constant", "one-cycle"]
Precision: TypeAlias = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What a user may choose for `ctonnx train`, besides the data and the preprocessing.

    Attributes:
        weights: what the backbone starts from: `imagenet`, `none` or a file.
        epochs: at most, over both phases.
        batch_size: images a step.
        seed: of weights, order, augmentation and made splits.
        precision: of the network's arithmetic in training: `bf16` (mixed), `fp32`, or `auto`: bf16 where the device
            computes in it.
        unfreeze_from: the first stage that phase 2 trains.
        patience: epochs without a better validation loss after which a phase ends.
    """

    weights: str = "imagenet"
    epochs: int = 30
    batch_size: int = 32
    seed: int = 0
    precision: Precision = "auto"
    unfreeze_from: str = "layer4"
    patience: int = 6

    def __post_init__(self) -> None:
        if self.unfreeze_from not in STAGES[:-1]:
            raise ValueError(f"expected unfreeze_from to be one of {STAGES[:-1]}, found {self.unfreeze_from!r}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"expected precision to be one of {get_args(Precision)}, found {self.precision!r}")
        for name, least in (("epochs", 1), ("batch_size", 2), ("seed", 0), ("patience", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} of {least} or more, found {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part of the training, with an optimizer of its own.

    Attributes:
        name: as it is shown and written to metrics.csv.
        stages: the stages of the network that learn.
        epochs: at most.
        learning_rate: constant, or the peak of the one-cycle schedule.
        schedule: `constant`, or `one-cycle` (Smith and Topin 2018, https://arxiv.org/abs/1708.07120).
        weight_decay: decoupled (AdamW); 0 makes it plain Adam.
        dropout: whether the head's dropout is at work.
        patience: epochs without a better validation loss after which the phase ends; None runs all epochs.
    """

    name: str
    stages: tuple[str, ...]
    epochs: int
    learning_rate: float
    schedule: Schedule
    weight_decay: float
    dropout: bool
    patience: int | None


def plan(settings: TrainSettings) -> tuple[Phase, ...]:
    """Returns the phases of a training.

    From pretrained weights: a third of the epochs for the head on a frozen backbone (Adam, 1e-4), the rest for the
    stages from `unfreeze_from` on (Adam, 1e-5), each ended early when the validation loss stops falling. From none: the
    whole network at once with a one-cycle rate, which must run to its end to anneal, and without dropout, which keeps a
    head on untrained features from learning.

    >>> [(phase.name, phase.epochs) for phase in plan(TrainSettings(epochs=30))]
    [('head', 10), ('fine-tune', 20)]
    >>> [(phase.name, phase.epochs) for phase in plan(TrainSettings(epochs=30, weights="none"))]
    [('scratch', 30)]
    """
    if settings.weights == NONE:
        return (
            Phase(
                name="scratch",
                stages=STAGES,
                epochs=settings.epochs,
                learning_rate=1e-3,
                schedule="one-cycle",
                weight_decay=0.02,
                dropout=False,
                patience=None,
            ),
        )
    head_epochs = max(1, settings.epochs // 3)
    phases = (
        Phase(
            name="head",
            stages=("head",),
            epochs=head_epochs,
            learning_rate=1e-4,
            schedule="constant",
            weight_decay=0.0,
            dropout=True,
            patience=settings.patience,
        ),
        Phase(
            name="fine-tune",
            stages=STAGES[STAGES.index(settings.unfreeze_from) :],
            epochs=settings.epochs - head_epochs,
            learning_rate=1e-5,
            schedule="constant",
            weight_decay=0.0,
            dropout=True,
            patience=settings.patience,
        ),
    )
    return tuple(phase for phase in phases if phase.epochs)
