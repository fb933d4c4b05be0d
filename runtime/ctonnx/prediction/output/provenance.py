"""Provenance of the rows of `ctonnx predict`: model, threshold and time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.system.files import sha256_of

__all__ = ["Provenance", "provenance"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Provenance of the rows of a run.

    Attributes:
        model_sha256: SHA-256 of the model file.
        threshold: Score from which an image is suspicious; None if the model has no operating point.
        time: Start of the run, ISO 8601 in UTC, to the second.
    """

    model_sha256: str
    threshold: float | None
    time: str

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document; its keys are the columns of CSV files."""
        return {"model_sha256": self.model_sha256, "threshold": self.threshold, "time": self.time}


def provenance(model: Path, spec: ModelSpec) -> Provenance:
    """Returns the provenance of the rows that a model predicts from now on.

    Args:
        model: The `.onnx` file.
        spec: Spec of the model.

    Raises:
        OSError: If the file cannot be read.
    """
    point = spec.operating_point
    return Provenance(
        model_sha256=sha256_of(model),
        threshold=None if point is None else point.threshold,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )
