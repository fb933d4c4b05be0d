"""The training recipe: which part of the network learns, for how long, at which rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ctonnx_train.network.classifier import STAGES
from ctonnx_train.network.pretrained import NONE

__all__ = [
    "MONITORS",
    "Imbalance",
    "Monitor",
    "Phase",
    "Precision",
    "Schedule",
    "TrainSettings",
    "class_weights",
    "default_batch_size",
    "image_size",
    "plan",
]


Schedule: TypeAlias = Literal["constant", "one-cycle"]
Imbalance: TypeAlias = Literal["loss", "sampler", "none"]
Precision: TypeAlias = Literal["auto", "bf16", "fp16", "fp32"]
Monitor: TypeAlias = Literal["loss", "accuracy", "balanced_accuracy", "macro_auroc", "macro_f1"]

MONITORS: tuple[Monitor, ...] = get_args(Monitor)
"""What of the validation images can choose the best epoch: the loss at its lowest, the others at their highest."""

_GROWTH = ((0.67, 1 / 2), (0.85, 3 / 4))  # up to this share of the epochs, images are of this size


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What a user may choose for `ctonnx train`, besides the data and the preprocessing.

    Attributes:
        weights: what the backbone starts from: `imagenet`, `none` or a file.
        epochs: at most, over both phases.
        batch_size: Images a step on each device.
        seed: of weights, order, augmentation and made splits.
        precision: of the network's arithmetic in training: `bf16` or `fp16` (mixed; fp16 on GPUs alone), `fp32`, or
            `auto`: bf16 where the device computes in it, fp16 on other CUDA GPUs, else fp32.
        unfreeze_from: The first stage that phase 2 trains.
        patience: Epochs without a better `monitor` after which a phase ends.
        monitor: what of the validation images chooses the best epoch.
        imbalance: how rare classes are made to count: by weights in the `loss`, by a `sampler` that draws them more
            often, or not (`none`).
        drop_leaks: Whether copies of earlier splits' images are kept out of `valid` and `test`, and copies with
            different labels out of `train`.
        group_regex: what names the group, such as the patient, in an image's path; see
            `ctonnx_train.data.leakage.group_names`.
        cache_gb: how many GB (10^9 bytes) of images are kept in memory, by all processes of a machine together.
        full_size: Whether images have their whole size from the first epoch on, also from scratch; see `image_size`.
        compile: Whether `torch.compile` makes the network's code.
        devices: how many devices of a machine train.
        nodes: how many machines train.
        tensorboard: Whether TensorBoard's files are written too.
        positive: The classes that are suspicious; none names all but `normal` and `benign`.
        sensitivity: that the operating point is to reach on the validation images.
        threads: in which each process computes; see `ctonnx_train.network.threads.computing_threads`.
    """

    weights: str = "imagenet"
    epochs: int = 30
    batch_size: int = 32
    seed: int = 0
    precision: Precision = "auto"
    unfreeze_from: str = "layer4"
    patience: int = 6
    monitor: Monitor = "loss"
    imbalance: Imbalance = "loss"
    drop_leaks: bool = False
    group_regex: str | None = None
    cache_gb: float = 8.0
    full_size: bool = False
    compile: bool = False
    devices: int = 1
    nodes: int = 1
    tensorboard: bool = False
    positive: tuple[str, ...] = ()
    sensitivity: float = 0.95
    threads: int | None = None

    def __post_init__(self) -> None:
        choices = {
            "unfreeze_from": STAGES[:-1],
            "precision": get_args(Precision),
            "monitor": MONITORS,
            "imbalance": get_args(Imbalance),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"expected {name} to be one of {allowed}, found {getattr(self, name)!r}")
        least = {"epochs": 1, "batch_size": 2, "seed": 0, "patience": 1, "cache_gb": 0, "devices": 1, "nodes": 1}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"expected {name} of {number} or more, found {getattr(self, name)!r}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"expected threads of 1 or more, found {self.threads!r}")
        if not 0 < self.sensitivity <= 1:
            raise ValueError(f"expected a sensitivity above 0 and up to 1, found {self.sensitivity!r}")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part of the training, with an optimizer of its own.

    Attributes:
        number: from 1.
        name: as it is shown and written to metrics.csv.
        stages: The stages of the network that learn.
        epochs: at most.
        learning_rate: Constant, or the peak of the one-cycle schedule.
        schedule: `constant`, or `one-cycle` (Smith and Topin 2018, https://arxiv.org/abs/1708.07120).
        weight_decay: Decoupled (AdamW); 0 makes it plain Adam.
        dropout: Whether the head's dropout is at work.
        patience: Epochs without a better figure after which the phase ends; None runs all epochs.
        augmentation: how strong it is: 1 is all of `ctonnx_train.training.loop.augmentation.Augmentation`.
        growing: Whether the images grow over the epochs, as `image_size` tells.
    """

    number: int
    name: str
    stages: tuple[str, ...]
    epochs: int
    learning_rate: float
    schedule: Schedule
    weight_decay: float
    dropout: bool
    patience: int | None
    augmentation: float = 1.0
    growing: bool = False


def default_batch_size(weights: str) -> int:
    """Returns the images of a step where the user chose none.

    From scratch the small sets of this field need the steps more than each step needs the images; but each step has a
    cost of its own, which on a CPU small images make felt.

    >>> default_batch_size("imagenet"), default_batch_size("none")
    (32, 24)

    Args:
        weights: as in `TrainSettings`.
    """
    return 24 if weights == NONE else 32


def image_size(size: int, phase: Phase, epoch: int) -> int:
    """Returns the height and width, in pixels, that an epoch trains on: progressive resizing.

    Small images are fast, and what is learned on them is a good start for larger ones, where it can be seen on them:
    findings of a few pixels cannot. Source: Tan and Le 2021, https://arxiv.org/abs/2104.00298.

    >>> scratch = plan(TrainSettings(weights="none", epochs=10))[0]
    >>> [image_size(128, scratch, epoch) for epoch in range(10)]
    [64, 64, 64, 64, 64, 64, 64, 96, 128, 128]

    Args:
        size: of the images, in pixels.
        phase: that the epoch is in.
        epoch: in the phase, from 0; the last one sees the images as they are.
    """
    if not phase.growing or epoch + 1 == phase.epochs:
        return size
    scale = next((scale for share, scale in _GROWTH if (epoch + 0.5) / phase.epochs < share), 1.0)
    return min(size, max(32, round(size * scale / 16) * 16))


def plan(settings: TrainSettings) -> tuple[Phase, ...]:
    """Returns the phases of a training.

    From pretrained weights: a third of the epochs for the head on a frozen backbone (Adam, 1e-4), the rest for the
    stages from `unfreeze_from` on (Adam, 1e-5), each ended early when the validation figure gets no better. From none:
    the whole network at once with a one-cycle rate, which must run to its end to anneal, and without dropout, which
    keeps a head on untrained features from learning. There the images grow over the epochs, and are augmented half as
    much: in so few steps a network from scratch fits too little, not too much.

    >>> [(phase.name, phase.epochs) for phase in plan(TrainSettings(epochs=30))]
    [('head', 10), ('fine-tune', 20)]
    >>> [(phase.name, phase.epochs) for phase in plan(TrainSettings(epochs=30, weights="none"))]
    [('scratch', 30)]
    """
    if settings.weights == NONE:
        return (
            Phase(
                number=1,
                name="scratch",
                stages=STAGES,
                epochs=settings.epochs,
                learning_rate=5e-4,
                schedule="one-cycle",
                weight_decay=0.02,
                dropout=False,
                patience=None,
                augmentation=0.5,
                growing=not settings.full_size,
            ),
        )
    head_epochs = max(1, settings.epochs // 3)
    phases = (
        Phase(
            number=1,
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
            number=2,
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


def class_weights(labels: Sequence[int], classes: int) -> tuple[float, ...]:
    """Returns a weight for each class: images / (classes * images of the class), as scikit-learn's `balanced`.

    Source: King and Zeng 2001, https://doi.org/10.1093/oxfordjournals.pan.a004868.

    >>> class_weights([0, 0, 0, 1], 2)
    (0.6666666666666666, 2.0)

    Args:
        labels: of the training images; each class has at least one.
        classes: how many there are.
    """
    return tuple(len(labels) / (classes * labels.count(label)) for label in range(classes))
