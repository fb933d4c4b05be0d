"""The training recipe: the settings, and the phases with their trained stages, epochs and learning rates."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

__all__ = [
    "MONITORS",
    "AggregateChoice",
    "AugmentationKind",
    "Imbalance",
    "Monitor",
    "Phase",
    "Precision",
    "Schedule",
    "TrainSettings",
    "class_weights",
    "complete_settings",
    "default_augmentation",
    "default_batch_size",
    "image_size",
    "launched_processes",
    "plan",
]

AggregateChoice: TypeAlias = Literal["auto", "max", "mean", "top-k"]
Schedule: TypeAlias = Literal["constant", "one-cycle"]
AugmentationKind: TypeAlias = Literal["acquisition", "standard"]
Imbalance: TypeAlias = Literal["loss", "sampler", "none"]
Precision: TypeAlias = Literal["auto", "bf16", "fp16", "fp32"]
Monitor: TypeAlias = Literal["loss", "accuracy", "balanced_accuracy", "macro_auroc", "macro_f1"]

MONITORS: tuple[Monitor, ...] = get_args(Monitor)
"""Validation metrics that can select the best epoch: the lowest loss, or the highest value of the others."""

_GROWTH = ((0.67, 1 / 2), (0.85, 3 / 4))  # up to this share of the epochs, images have this share of their size


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of `ctonnx train` other than the data and the preprocessing.

    Attributes:
        weights: Initial weights of the backbone: `imagenet`, `none` or a file.
        epochs: Maximum number of epochs, over both phases.
        batch_size: Images per step on each device.
        seed: Random seed for initial weights, sample order, augmentation and new splits.
        precision: Numeric precision of training: `bf16` or `fp16` (mixed; fp16 on GPUs only), `fp32`, or `auto`: bf16
            if the device supports it natively, fp16 on other CUDA GPUs, otherwise fp32.
        unfreeze_from: First stage that phase 2 trains.
        patience: Epochs without a better `monitor` after which a phase ends.
        monitor: Validation metric that selects the best epoch.
        imbalance: Compensation for rare classes: weights in the `loss`, a `sampler` that draws them more often, `none`.
        augmentation: `acquisition` also changes training images as other scanners, windows and file formats do; see
            `ctonnx_train.training.loop.acquisition`. `standard` only moves them and changes the brightness.
        drop_leaks: Whether to remove copies of earlier splits' images, and from `train` copies with different labels.
        group_regex: Regular expression for the group in an image's path; see `ctonnx_train.data.leakage.group_names`.
        cache_gb: GB (10^9 bytes) of images to keep in memory, for all processes of a machine together.
        full_size: Whether images have their full size from the first epoch on, also from scratch; see `image_size`.
        compile: Whether to compile the network with `torch.compile`.
        folds: Number of folds for cross-fitting, 3 or more; None trains one network. See
            `ctonnx_train.training.cross_fitting`.
        devices: Number of devices per machine.
        nodes: Number of machines.
        tensorboard: Whether to write TensorBoard files as well.
        positive: Suspicious classes; if empty, all but `normal` and `benign`.
        sensitivity: Target sensitivity of the operating point on the validation set.
        coverage: Target share of each class's images with their class in their prediction set.
        aggregate: Slices that carry a patient's score, `max`, `mean` or `top-k`, or `auto`: the choice among them that
            separates the validation patients best; see `ctonnx_train.evaluation.patients.fitting`.
        top_k: Number of slices of `top-k`; None is 3.
        novelty_quantile: Share of the validation images, and of images like them, that is not flagged.
        threads: Number of threads per process; see `ctonnx_train.network.threads.computing_threads`.
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
    augmentation: AugmentationKind = "acquisition"
    drop_leaks: bool = False
    group_regex: str | None = None
    cache_gb: float = 8.0
    full_size: bool = False
    compile: bool = False
    folds: int | None = None
    devices: int = 1
    nodes: int = 1
    tensorboard: bool = False
    positive: tuple[str, ...] = ()
    sensitivity: float = 0.95
    coverage: float = 0.95
    aggregate: AggregateChoice = "auto"
    top_k: int | None = None
    novelty_quantile: float = 0.95
    threads: int | None = None

    def __post_init__(self) -> None:
        from ctonnx_train.network.classifier import STAGES  # loads PyTorch, which the command line's help does without

        choices = {
            "unfreeze_from": STAGES[:-1],
            "precision": get_args(Precision),
            "monitor": MONITORS,
            "imbalance": get_args(Imbalance),
            "augmentation": get_args(AugmentationKind),
            "aggregate": get_args(AggregateChoice),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"expected {name} to be one of {allowed}, found {getattr(self, name)!r}")
        minimums = {"epochs": 1, "batch_size": 2, "seed": 0, "patience": 1, "cache_gb": 0, "devices": 1, "nodes": 1}
        for name, number in minimums.items():
            if getattr(self, name) < number:
                raise ValueError(f"expected {name} of {number} or more, found {getattr(self, name)!r}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"expected threads of 1 or more, found {self.threads!r}")
        if self.folds is not None and self.folds < 3:
            raise ValueError(f"expected 3 folds or more, found {self.folds!r}")
        if self.folds is not None and self.devices * self.nodes > 1:
            raise ValueError(f"expected one process to train in folds, found {self.devices * self.nodes}")
        if self.top_k is not None and (self.top_k < 1 or self.aggregate not in ("auto", "top-k")):
            raise ValueError(
                f"expected a top_k of 1 or more for the aggregate 'top-k' or 'auto', found {self.top_k!r} for "
                f"'{self.aggregate}'"
            )
        if not 0 < self.sensitivity <= 1:
            raise ValueError(f"expected a sensitivity above 0 and up to 1, found {self.sensitivity!r}")
        if not 0 < self.coverage < 1:
            raise ValueError(f"expected a coverage between 0 and 1, found {self.coverage!r}")
        if not 0 < self.novelty_quantile < 1:
            raise ValueError(f"expected a novelty quantile above 0 and below 1, found {self.novelty_quantile!r}")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part of the training, with its own optimizer.

    Attributes:
        number: Number of the phase, from 1.
        name: Name in the log and in metrics.csv.
        stages: Stages of the network that are trained.
        epochs: Maximum number of epochs.
        learning_rate: Learning rate; the peak if the schedule is `one-cycle`.
        schedule: `constant`, or `one-cycle` (Smith and Topin 2018, https://arxiv.org/abs/1708.07120).
        weight_decay: Decoupled weight decay (AdamW); 0 is plain Adam.
        dropout: Whether the head's dropout is active.
        patience: Epochs without a better metric after which the phase ends; None runs all epochs.
        augmentation: Strength of rotation, zoom, shift and brightness relative to the defaults of
            `ctonnx_train.training.loop.augmentation.Augmentation`.
        growing: Whether the image size grows over the epochs; see `image_size`.
    """

    number: int
    name: str
    stages: tuple[str, ...]
    epochs: int
    learning_rate: float
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    dropout: bool = True
    patience: int | None = None
    augmentation: float = 1.0
    growing: bool = False


def complete_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run with those that an earlier release did not store.

    >>> complete_settings({"epochs": 30})
    {'augmentation': 'standard', 'epochs': 30}
    """
    return {"augmentation": "standard", **settings}


def default_augmentation(weights: str) -> AugmentationKind:
    """Returns the default changes of training images with these initial weights.

    From scratch, the changes of the acquisition cost more than a point of validation accuracy: such a network underfits
    in its few epochs.

    >>> default_augmentation("imagenet"), default_augmentation("none")
    ('acquisition', 'standard')
    """
    return "standard" if weights == "none" else TrainSettings.augmentation


def default_batch_size(weights: str) -> int:
    """Returns the default number of images per step with these initial weights.

    Training from scratch on the small datasets of this field benefits more from additional steps than from larger
    ones. Below 24 images, the fixed cost of a step dominates on a CPU.

    >>> default_batch_size("imagenet"), default_batch_size("none")
    (32, 24)
    """
    return 24 if weights == "none" else TrainSettings.batch_size


def launched_processes() -> tuple[int, int] | None:
    """Returns the number of processes per machine, and of machines, that torchrun or SLURM started; None without them.

    SLURM also sets its variables for the shell of `salloc` and `srun --pty`, and for a batch script, in which nothing
    was launched: only a step of srun has a number, and is not an interactive shell.

    Sources: https://docs.pytorch.org/docs/stable/elastic/run.html and https://slurm.schedmd.com/srun.html.
    """
    found = os.environ
    if "TORCHELASTIC_RUN_ID" in found:
        each, total = int(found["LOCAL_WORLD_SIZE"]), int(found["WORLD_SIZE"])
        return each, max(1, total // each)
    if "SLURM_STEP_ID" in found and found.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(found.get("SLURM_NNODES", "1"))
        return max(1, int(found.get("SLURM_NTASKS", "1")) // nodes), nodes
    return None


def plan(settings: TrainSettings) -> tuple[Phase, ...]:
    """Returns the phases of a training.

    From pretrained weights, the head is trained on a frozen backbone for a third of the epochs (Adam, 1e-4), then the
    stages from `unfreeze_from` on for the rest (Adam, 1e-5). Each phase stops early when the validation metric no
    longer improves.

    From scratch, the whole network is trained at once with a one-cycle learning rate, which must run to its end to
    anneal. Dropout is off, because it keeps a head on untrained features from learning. The image size grows over the
    epochs. Augmentation is half as strong, because in so few steps such a network underfits rather than overfits.

    >>> [(phase.name, phase.epochs) for phase in plan(TrainSettings(epochs=30))]
    [('head', 10), ('fine-tune', 20)]
    >>> [(phase.name, phase.epochs) for phase in plan(TrainSettings(epochs=30, weights="none"))]
    [('scratch', 30)]
    """
    from ctonnx_train.network.classifier import STAGES

    if settings.weights == "none":
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
            patience=settings.patience,
        ),
        Phase(
            number=2,
            name="fine-tune",
            stages=STAGES[STAGES.index(settings.unfreeze_from) :],
            epochs=settings.epochs - head_epochs,
            learning_rate=1e-5,
            patience=settings.patience,
        ),
    )
    return tuple(phase for phase in phases if phase.epochs)


def image_size(size: int, phase: Phase, epoch: int) -> int:
    """Returns the height and width, in pixels, of the training images of a phase's epoch, from 0: progressive resizing.

    Small images train fast, and their features transfer to larger images unless the findings span only a few pixels.
    The last epoch uses images of the full `size`. Source: Tan and Le 2021, https://arxiv.org/abs/2104.00298.

    >>> scratch = plan(TrainSettings(weights="none", epochs=10))[0]
    >>> [image_size(128, scratch, epoch) for epoch in range(10)]
    [64, 64, 64, 64, 64, 64, 64, 96, 128, 128]
    """
    if not phase.growing or epoch + 1 == phase.epochs:
        return size
    scale = next((scale for share, scale in _GROWTH if (epoch + 0.5) / phase.epochs < share), 1.0)
    return min(size, max(32, round(size * scale / 16) * 16))


def class_weights(labels: Sequence[int], classes: int) -> tuple[float, ...]:
    """Returns a weight per class: images / (classes * images of the class), as scikit-learn's `balanced`.

    Each class has at least one image.

    Source: King and Zeng 2001, https://doi.org/10.1093/oxfordjournals.pan.a004868.

    >>> class_weights([0, 0, 0, 1], 2)
    (0.6666666666666666, 2.0)
    """
    return tuple(len(labels) / (classes * labels.count(label)) for label in range(classes))
