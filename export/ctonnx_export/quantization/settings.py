"""Settings of the INT8 quantization."""

from dataclasses import dataclass
from pathlib import Path

from ctonnx.artifacts.report_schema import TARGETS, Target

__all__ = ["Quantization"]


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """Settings of the INT8 quantization.

    Attributes:
        target: Processor that the model is quantized for.
        calibrate: Dataset or folder of images to calibrate on; None uses the run's training images.
        labels: Labels file of the images in `calibrate`, if it has one.
        samples: Number of calibration images.
        finetune: Whether the weights and scales are trained on the outputs of FP32 for the calibration images.
        finetune_epochs: Number of passes of that training over these images.
    """

    target: Target = "x86"
    calibrate: Path | None = None
    labels: Path | None = None
    samples: int = 300
    finetune: bool = False
    finetune_epochs: int = 6

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"expected target to be one of {TARGETS}, found {self.target!r}")
        for name in ("samples", "finetune_epochs"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"expected {name} of 1 or more, found {value!r}")
