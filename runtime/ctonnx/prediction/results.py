"""Result for one image: a prediction, or a failure if the image cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.operating_point import suspicion
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.outputs import Outputs

__all__ = ["Failure", "Prediction", "Record", "prediction_of"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prediction for one image.

    Attributes:
        source: Path as it was given, or the kind of the object.
        probabilities: Probability of each class, in descending order.
        logits: float32 [classes], in the order of the spec's classes.
        heatmap: float32 [classes, size / 32, size / 32], in the order of the spec's classes.
        suspicious: Whether the score reaches the threshold of the operating point; None if the model has none.
        frame: Index of the frame, from 0, in a DICOM file with several; else None. `source` ends in `#1` for frame 0.
        score: Summed probability of the suspicious classes; None if the model has no operating point.
        caution: Warning that the image is not one to trust the model on, such as a blank one
            (`ctonnx.prediction.cautions`); else None.
    """

    source: str
    probabilities: Mapping[str, float]
    logits: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    suspicious: bool | None = None
    frame: int | None = None
    score: float | None = None
    caution: str | None = None

    def __repr__(self) -> str:
        suspicion = "" if self.suspicious is None else f", suspicious={self.suspicious}"
        caution = "" if self.caution is None else f", caution={self.caution!r}"
        return f"Prediction({self.source!r}, {self.label!r}, {self.probability:.4f}{suspicion}{caution})"

    @property
    def label(self) -> str:
        """The predicted class."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """The probability of `label`, 0 to 1."""
        return next(iter(self.probabilities.values()))

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns the `count` most probable classes with their probabilities, in descending order."""
        return list(islice(self.probabilities.items(), count))

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document of all fields but the arrays."""
        return {
            "file": self.source,
            "label": self.label,
            "probability": self.probability,
            "suspicious": self.suspicious,
            "score": self.score,
            "probabilities": dict(self.probabilities),
            "frame": self.frame,
            "caution": self.caution,
            "error": None,
        }


@dataclass(frozen=True)
class Failure:
    """Result for an image that could not be read.

    Attributes:
        source: Path as it was given, or the kind of the object.
        error: Reason.
        frame: Index of the frame, from 0, in a DICOM file with several; else None.
    """

    source: str
    error: str
    frame: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document with the keys of `Prediction.as_dict`."""
        return {
            "file": self.source,
            "label": None,
            "probability": None,
            "suspicious": None,
            "score": None,
            "probabilities": {},
            "frame": self.frame,
            "caution": None,
            "error": self.error,
        }


Record: TypeAlias = Prediction | Failure
"""Result that `Predictor.predict_many` yields for each image."""


def prediction_of(
    spec: ModelSpec, outputs: Outputs, row: int, *, source: str, frame: int | None = None, caution: str | None = None
) -> Prediction | None:
    """Returns the prediction for one image of a batch, or None if its probabilities are not finite.

    Args:
        spec: Spec of the model.
        outputs: Outputs of the batch.
        row: Index of the image in the batch.
        source: Source of the prediction.
        frame: Frame of the prediction.
        caution: Warning of the prediction.
    """
    if not np.isfinite(outputs.probabilities[row]).all():
        return None
    probabilities = outputs.probabilities[row].tolist()
    order = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
    named = {spec.classes[index]: probabilities[index] for index in order}
    suspicious, score = None, None
    if point := spec.operating_point:
        single = outputs.probabilities[[row]]
        suspicious = bool(point.calls(single, spec.classes)[0])
        score = min(1.0, float(suspicion(single, spec.classes, point.positive)[0]))  # float32 sums may exceed 1
    # Copies: a view would keep the whole batch's arrays alive with one record.
    logits, heatmap = outputs.logits[row].copy(), outputs.heatmap[row].copy()
    return Prediction(source, named, logits, heatmap, suspicious, frame, score, caution)
