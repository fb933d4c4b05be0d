"""Which model gave a row, by which threshold, and when: what each row of `ctonnx predict` carries for programs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.system.files import sha256_of

__all__ = ["Provenance", "provenance"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the rows of a run come from.

    Attributes:
        model_sha256: SHA-256 of the model's file.
        threshold: The score from which an image is suspicious; None for a model without an operating point.
        time: When the run began, ISO 8601 in UTC, to the second.
    """

    model_sha256: str
    threshold: float | None
    time: str

    def as_dict(self) -> dict[str, Any]:
        """Returns what a JSON document contains, under the names of CSV's columns."""
        return {"model_sha256": self.model_sha256, "threshold": self.threshold, "time": self.time}


def provenance(model: Path, spec: ModelSpec) -> Provenance:
    """Returns the provenance of what a model predicts from now on.

    Args:
        model: The `.onnx` file.
        spec: What it says about itself.

    Raises:
        OSError: The file cannot be read.
    """
    point = spec.operating_point
    return Provenance(
        model_sha256=sha256_of(model),
        threshold=None if point is None else point.threshold,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )
