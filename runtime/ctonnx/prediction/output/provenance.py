"""Provenance of the rows of `ctonnx predict`: model, threshold and time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.system.files import sha256_of

__all__ = ["provenance"]


def provenance(
    model: Path, spec: ModelSpec, time: datetime | None = None, *, sha256: str | None = None
) -> dict[str, Any]:
    """Returns the provenance of the rows that a model predicts from now on: a JSON document with the columns of CSV.

    The threshold is None if the model has no operating point; the time is ISO 8601 in UTC, to the second.

    Args:
        model: The model's file.
        spec: Its spec.
        time: Start of the run, with its time zone; None of one that starts now.
        sha256: SHA-256 of the bytes that were opened, if it is known; None reads the file.

    Raises:
        OSError: If the file cannot be read.
    """
    return {
        "model_sha256": sha256 or sha256_of(model),
        "threshold": spec.operating_point.threshold if spec.operating_point else None,
        "time": (datetime.now(UTC) if time is None else time.astimezone(UTC)).isoformat(timespec="seconds"),
    }
