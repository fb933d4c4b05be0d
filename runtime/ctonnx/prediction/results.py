"""What is said of one image: a prediction, or what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.operating_point import suspicion
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.outputs import Outputs

__all__ = ["Failure", "Prediction", "Record", "answer"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one image.

    Attributes:
        source: The path as it was given, or what kind of object was given.
        probabilities: of each class, from the most probable to the least.
        logits: float32 [classes], in the order of the spec's classes.
        heatmap: float32 [classes, size / 32, size / 32], in the order of the spec's classes.
        suspicious: Whether the spec's operating point calls the image so; None where the model has none.
        frame: of a DICOM file with several, counted from 0; None of any other image. `source` ends in `#1` for frame 0.
        score: The sum of the suspicious classes' probabilities, which the operating point's threshold is compared with;
            None where the model has none.
        caution: why the answer should be doubted, as of a blank image (`ctonnx.prediction.cautions`); None where
            nothing is known.
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
        """The most probable class."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """The probability of `label`, 0 to 1."""
        return next(iter(self.probabilities.values()))

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns the `count` most probable classes with their probabilities, the most probable first."""
        return list(islice(self.probabilities.items(), count))

    def as_dict(self) -> dict[str, Any]:
        """Returns what a JSON document holds: all but the arrays."""
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
    """The record of an image that could not be read, in the place where its answer would stand.

    Attributes:
        source: The path as it was given, or what kind of object was given.
        error: what is wrong with it.
        frame: of a DICOM file with several, counted from 0.
    """

    source: str
    error: str
    frame: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns a dictionary with the keys of `Prediction.as_dict`."""
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
"""What `Predictor.predict_many` yields for each image."""


def answer(
    spec: ModelSpec, outputs: Outputs, row: int, *, source: str, frame: int | None = None, caution: str | None = None
) -> Prediction | None:
    """Returns what a model's outputs say of one image, or None where they are not numbers.

    Args:
        spec: The model's.
        outputs: of a batch.
        row: of the image.
        source: The prediction's.
        frame: The prediction's.
        caution: The prediction's.
    """
    if not np.isfinite(outputs.probabilities[row]).all():
        return None
    probabilities = outputs.probabilities[row].tolist()
    order = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
    named = {spec.classes[index]: probabilities[index] for index in order}
    suspicious, score = None, None
    if point := spec.operating_point:
        alone = outputs.probabilities[[row]]
        suspicious = bool(point.calls(alone, spec.classes)[0])
        score = min(1.0, float(suspicion(alone, spec.classes, point.positive)[0]))  # float32 adds up to a little more
    # Copies: a view would keep the whole batch's arrays alive with one record.
    logits, heatmap = outputs.logits[row].copy(), outputs.heatmap[row].copy()
    return Prediction(source, named, logits, heatmap, suspicious, frame, score, caution)
