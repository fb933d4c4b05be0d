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
    """

    target: Target = "x86"
    calibrate: Path | None = None
    labels: Path | None = None
    samples: int = 300

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"expected target to be one of {TARGETS}, found {self.target!r}")
        if self.samples < 1:
            raise ValueError(f"expected samples of 1 or more, found {self.samples!r}")
