"""The one comparison between what two models answer for the same pixels, and the gates that it must pass."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ctonnx.outputs import Outputs

__all__ = ["GATES", "Gate", "Parity", "compare"]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far a candidate's answers lie from its reference's.

    Attributes:
        images: how many images were compared.
        agreement: share of images with the same most probable class, 0 to 1.
        max_dp: largest absolute difference of a probability.
        mean_dp: mean absolute difference of the probabilities.
        max_dlogit: largest absolute difference of a logit.
        max_dheatmap: largest absolute difference of a heatmap value, relative to the reference's largest value.
    """

    images: int
    agreement: float
    max_dp: float
    mean_dp: float
    max_dlogit: float
    max_dheatmap: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures with three significant digits: beyond that they are rounding noise."""
        return {
            name: value if isinstance(value, int) else float(f"{value:.3g}") for name, value in asdict(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The bounds that a precision must keep to be shipped; a NaN keeps none.

    Attributes:
        max_dp: largest absolute difference of a probability that is allowed.
        min_agreement: smallest share of images with the same most probable class that is allowed.
    """

    max_dp: float
    min_agreement: float

    def failures(self, parity: Parity) -> tuple[str, ...]:
        """Returns a phrase for each bound that `parity` breaks; none where the gate is passed."""
        failures = []
        if not parity.max_dp <= self.max_dp:
            failures.append(f"max |dp| is {parity.max_dp:.3g}, at most {self.max_dp:g} is allowed")
        if not parity.agreement >= self.min_agreement:
            failures.append(f"agreement is {parity.agreement:.2%}, at least {self.min_agreement:.2%} is required")
        if not np.isfinite(parity.max_dheatmap):
            failures.append("the heatmaps hold values that are not finite")
        return tuple(failures)


GATES = {"fp32": Gate(max_dp=1e-4, min_agreement=0.0)}
"""The gate of each precision. FP32 needs no bound on agreement: within 1e-4 only exact ties can change places."""


def compare(reference: Outputs, candidate: Outputs) -> Parity:
    """Compares two models' answers for the same images, in the same order.

    >>> import numpy as np
    >>> same = Outputs(np.float32([[0.9, 0.1]]), np.float32([[2.2, 0]]), np.zeros((1, 2, 7, 7), np.float32))
    >>> compare(same, same).max_dp
    0.0

    Raises:
        ValueError: there is nothing to compare, or the shapes differ.
    """
    if len(reference) == 0:
        raise ValueError("parity needs at least one image, found none")
    for name in ("probabilities", "logits", "heatmap"):
        expected, found = getattr(reference, name).shape, getattr(candidate, name).shape
        if expected != found:
            raise ValueError(f"expected {name} of shape {list(expected)}, found {list(found)}")
    dp = _difference(reference.probabilities, candidate.probabilities)
    dheatmap = _difference(reference.heatmap, candidate.heatmap)
    same_class = reference.probabilities.argmax(axis=1) == candidate.probabilities.argmax(axis=1)
    return Parity(
        images=len(reference),
        agreement=float(same_class.mean()),
        max_dp=float(dp.max()),
        mean_dp=float(dp.mean()),
        max_dlogit=float(_difference(reference.logits, candidate.logits).max()),
        max_dheatmap=float(dheatmap.max() / max(float(np.abs(reference.heatmap).max()), 1e-12)),
    )


def _difference(reference: Any, candidate: Any) -> Any:
    return np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
