"""Sizes of the kit on a GPU, and of its rehearsal on a CPU."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["ON_A_GPU", "REHEARSAL", "KitSettings"]


@dataclass(frozen=True, kw_only=True)
class KitSettings:
    """Settings of the kit.

    Attributes:
        provider: Provider and device of every step: `cuda`, or `cpu` in the rehearsal.
        budget_s: Seconds for all steps together.
        image_size: Height and width of the trained network's input, in pixels.
        phantoms_per_class: Number of phantoms of each class that the exported network is trained on.
        phantom_epochs: Number of epochs on the phantoms.
        random_images: Number of random images that the speed of training is measured on.
        random_size: Their height and width, in pixels.
        train_batch: Images per step of the speed measurement.
        batch_sizes: Batch sizes of the latencies.
        timed_s: Seconds for which each case of the latencies is timed.
        scans: Number of files that `ctonnx predict` classifies.
        different_scans: Number of different scans among them.
        clients: Number of clients of `ctonnx serve`.
        requests: Number of their requests.
        compiles: Whether torch's compiler runs; without it, the same code runs as it is.
        thin: Whether a thin network runs instead of ResNet50, as in the tests.
        needs_gpu: Whether a machine without a GPU fails the step of the facts.
    """

    provider: Literal["cuda", "cpu"] = "cuda"
    budget_s: float = 540.0
    image_size: int = 224
    phantoms_per_class: int = 64
    phantom_epochs: int = 6
    random_images: int = 20_000
    random_size: int = 224
    train_batch: int = 128
    batch_sizes: tuple[int, ...] = (1, 32, 128)
    timed_s: float = 0.5
    scans: int = 2000
    different_scans: int = 64
    clients: int = 64
    requests: int = 4000
    compiles: bool = True
    thin: bool = False
    needs_gpu: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Returns the settings for JSON."""
        return {**asdict(self), "batch_sizes": list(self.batch_sizes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "KitSettings":
        """Returns the settings from `as_dict`."""
        return cls(**{**values, "batch_sizes": tuple(values["batch_sizes"])})


ON_A_GPU = KitSettings()
"""The kit's settings."""

REHEARSAL = KitSettings(
    provider="cpu",
    budget_s=240.0,
    image_size=64,
    phantoms_per_class=8,
    phantom_epochs=1,
    random_images=64,
    random_size=32,
    train_batch=16,
    batch_sizes=(1, 2, 4),
    timed_s=0.05,
    scans=40,
    different_scans=4,
    clients=64,
    requests=128,
    compiles=False,
    thin=True,
    needs_gpu=False,
)
"""Settings of the rehearsal: each step on the CPU, at small size. Compiling alone would take minutes there."""
