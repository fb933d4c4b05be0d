"""Result for one image: a prediction, or a failure if the image cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.operating_point import suspicion
from ctonnx.artifacts.decision.rule import DecisionName, decide_all
from ctonnx.artifacts.decision.usage import bins_of
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.outputs import Outputs

__all__ = ["Failure", "Prediction", "Record", "prediction_of"]

_KEYS = (
    "file",
    "label",
    "probability",
    "decision",
    "reason",
    "suspicious",
    "score",
    "set",
    "probabilities",
    "novelty",
    "novelty_percentile",
    "unlike_training",
    "frame",
    "caution",
    "error",
)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prediction for one image.

    Attributes:
        source: Path as it was given, or the kind of the object.
        probabilities: Probability of each class, in descending order.
        logits: float32 [classes], in the order of the spec's classes.
        heatmap: float32 [classes, size / 32, size / 32], in the order of the spec's classes.
        decision: `positive` if the score reaches the threshold of the operating point, else `negative`; `refer` where
            something speaks against this; None if the model has no operating point.
        frame: Index of the frame, from 0, in a DICOM file with several; else None. `source` ends in `#1` for frame 0.
        score: Summed probability of the suspicious classes; None if the model has no operating point.
        caution: Warning not to trust the model on this image, as it is blank or a localizer for example; else None.
        reason: Reason for `refer`; else None.
        prediction_set: Classes that the image may have, in the order of the spec's; None if the model has no sets.
        novelty: Squared distance from the training images, in the network's features; None if the model has no such
            output, or it is not finite.
        novelty_percentile: Percentage of the validation images (after a recalibration: of the site's scans) that are
            less novel; None without novelty.
        is_novel: Whether the novelty exceeds the model's threshold; None if the model has no such output.
        mean_grey: Mean grey value, 0 to 255, of the part that the model is given; None if unknown or blank.
        size: Width and height of the image; None if unknown.
    """

    source: str
    probabilities: Mapping[str, float]
    logits: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    decision: DecisionName | None = None
    frame: int | None = None
    score: float | None = None
    caution: str | None = None
    reason: str | None = None
    prediction_set: tuple[str, ...] | None = None
    novelty: float | None = None
    novelty_percentile: float | None = None
    is_novel: bool | None = None
    mean_grey: float | None = None
    size: tuple[int, int] | None = None

    def __repr__(self) -> str:
        decision = "" if self.decision is None else f", decision={self.decision!r}"
        caution = "" if self.caution is None else f", caution={self.caution!r}"
        return f"Prediction({self.source!r}, {self.label!r}, {self.probability:.4f}{decision}{caution})"

    @property
    def label(self) -> str:
        """The predicted class."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """The probability of `label`, 0 to 1."""
        return next(iter(self.probabilities.values()))

    @property
    def suspicious(self) -> bool | None:
        """Whether the image is suspicious: None if it is referred, or if the model has no operating point."""
        return None if self.decision in (None, "refer") else self.decision == "positive"

    @property
    def bins(self) -> dict[str, str]:
        """Bin of each quantity that is counted in use; see `ctonnx.artifacts.decision.usage`."""
        return bins_of(
            label=self.label,
            decision=self.decision,
            score=self.score,
            novelty_percentile=self.novelty_percentile,
            mean_grey=self.mean_grey,
            size=self.size,
        )

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns the `count` most probable classes with their probabilities, in descending order."""
        return list(islice(self.probabilities.items(), count))

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document of all fields but the arrays."""
        return {
            "file": self.source,
            "label": self.label,
            "probability": self.probability,
            "decision": self.decision,
            "reason": self.reason,
            "suspicious": self.suspicious,
            "score": self.score,
            "set": None if self.prediction_set is None else list(self.prediction_set),
            "probabilities": dict(self.probabilities),
            "novelty": self.novelty,
            "novelty_percentile": self.novelty_percentile,
            "unlike_training": self.is_novel,
            "frame": self.frame,
            "caution": self.caution,
            "error": None,
        }


@dataclass(frozen=True)
class Failure:
    """Result for an image that could not be read: the reason, with `source` and `frame` as of a `Prediction`."""

    source: str
    error: str
    frame: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document with the keys of `Prediction.as_dict`."""
        nothing: dict[str, Any] = dict.fromkeys(_KEYS)
        return nothing | {"file": self.source, "probabilities": {}, "frame": self.frame, "error": self.error}


Record: TypeAlias = Prediction | Failure
"""Result that `Predictor.predict_many` yields for each image."""


def prediction_of(
    spec: ModelSpec,
    outputs: Outputs,
    row: int,
    *,
    source: str,
    frame: int | None = None,
    caution: str | None = None,
    mean_grey: float | None = None,
    size: tuple[int, int] | None = None,
) -> Prediction | None:
    """Returns the prediction for the image in a row of a batch, or None if its probabilities are not finite."""
    if not np.isfinite(outputs.probabilities[row]).all():
        return None
    pairs = zip(spec.classes, outputs.probabilities[row].tolist(), strict=True)
    named = dict(sorted(pairs, key=lambda pair: -pair[1]))
    single = outputs.probabilities[[row]]
    classes_in_set = None
    if spec.prediction_sets is not None:
        inside = spec.prediction_sets.sets(single, spec.classes)[0]
        classes_in_set = tuple(name for name, is_inside in zip(spec.classes, inside, strict=True) if is_inside)
    novelty, percentile, is_novel = _novelty_of(spec, outputs, row)
    decision, reason, score = None, None, None
    if point := spec.operating_point:
        score = min(1.0, float(suspicion(single, spec.classes, point.positive)[0]))  # float32 sums may exceed 1
        [(decision, reason)] = decide_all(
            single,
            spec.classes,
            point,
            sets=spec.prediction_sets,
            limit=spec.novelty,
            novelty=None if outputs.novelty is None else outputs.novelty[[row]],
            cautions=[caution],
        )
    # Copies: a view would keep the whole batch's arrays alive with one record.
    return Prediction(
        source,
        named,
        outputs.logits[row].copy(),
        outputs.heatmap[row].copy(),
        decision=decision,
        frame=frame,
        score=score,
        caution=caution,
        reason=reason,
        prediction_set=classes_in_set,
        novelty=novelty,
        novelty_percentile=percentile,
        is_novel=is_novel,
        mean_grey=mean_grey,
        size=size,
    )


def _novelty_of(spec: ModelSpec, outputs: Outputs, row: int) -> tuple[float | None, float | None, bool | None]:
    """Returns the novelty of an image, its percentile, and whether it is flagged."""
    if spec.novelty is None or outputs.novelty is None:
        return None, None, None
    single = outputs.novelty[[row]]
    is_novel = bool(spec.novelty.flags(single)[0])
    if not np.isfinite(single[0]):  # JSON has no such number
        return None, None, is_novel
    return float(single[0]), float(spec.novelty.percentiles(single)[0]), is_novel
