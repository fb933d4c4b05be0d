"""Usage: counts of what a model was given and what it predicted, in fixed bins that have nothing of a patient."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from ctonnx.artifacts import json_schema

__all__ = ["ORDERED", "QUANTITIES", "UsageReference", "bins_of"]

QUANTITIES = ("class", "decision", "score", "novelty", "brightness", "size")
"""Quantities that are counted.

- `class`: the predicted class
- `decision`: `positive`, `negative` or `refer`
- `score`: of the suspicious classes, in steps of 0.05
- `novelty`: its percentile among the images that the model was fitted on, in steps of 5
- `brightness`: mean grey value, 0 to 255, in steps of 8
- `size`: width and height in pixels
"""

_STEPS = 20  # of a score, and of a percentile
_ROUNDING = 1e-5  # steps
_GREY = 8
_LAST_GREY = 255 // _GREY

ORDERED = {
    "score": tuple(f"{step / _STEPS:.2f}" for step in range(_STEPS)),
    "novelty": tuple(str(step * 100 // _STEPS) for step in range(_STEPS)),
    "brightness": tuple(str(step * _GREY) for step in range(_LAST_GREY + 1)),
}
"""Quantities whose bins are numbers, with all of their bins in order."""


def bins_of(
    *,
    label: str,
    decision: str | None = None,
    score: float | None = None,
    novelty_percentile: float | None = None,
    mean_grey: float | None = None,
    size: tuple[int, int] | None = None,
) -> dict[str, str]:
    """Returns the bin of each known quantity of an image. A bin of a number is its lower end.

    >>> bins_of(label="normal", decision="negative", score=0.129, mean_grey=77.2, size=(512, 400))
    {'class': 'normal', 'decision': 'negative', 'score': '0.10', 'brightness': '72', 'size': '512x400'}
    """
    found = {"class": label}
    if decision is not None:
        found["decision"] = decision
    if score is not None:
        found["score"] = ORDERED["score"][_step(score, 1.0)]
    if novelty_percentile is not None:
        found["novelty"] = ORDERED["novelty"][_step(novelty_percentile, 100.0)]
    if mean_grey is not None:
        found["brightness"] = ORDERED["brightness"][min(max(int(mean_grey / _GREY), 0), _LAST_GREY)]
    if size is not None:
        found["size"] = f"{size[0]}x{size[1]}"
    return found


def _step(value: float, most: float) -> int:
    # 0.7 is in the step from 0.70, also where it was a float32.
    return min(max(int(value / most * _STEPS + _ROUNDING), 0), _STEPS - 1)


@dataclass(frozen=True, kw_only=True)
class UsageReference:
    """Counts of the images that a model's values were fitted on, one of each patient where these are known.

    Attributes:
        images: Number of images that were counted.
        counts: Number of images in each bin of each of `QUANTITIES`; those that the model lacks are missing.
    """

    images: Annotated[int, json_schema.Between(1)]
    counts: Mapping[str, Mapping[str, int]]

    def __post_init__(self) -> None:
        for quantity, bins in self.counts.items():
            if any(count < 0 for count in bins.values()) or sum(bins.values()) > self.images:
                raise ValueError(f"expected at most {self.images} images in the bins of '{quantity}', found others")

    @classmethod
    def of(cls, images: Iterable[Mapping[str, str]]) -> "UsageReference | None":
        """Returns the counts of images, each with its bins from `bins_of`; None without images."""
        counts: dict[str, Counter[str]] = {}
        number = 0
        for bins in images:
            number += 1
            for quantity, bin_ in bins.items():
                counts.setdefault(quantity, Counter())[bin_] += 1
        if not number:
            return None
        return cls(images=number, counts={quantity: dict(sorted(found.items())) for quantity, found in counts.items()})
