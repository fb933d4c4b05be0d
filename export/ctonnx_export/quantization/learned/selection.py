"""Selection: the trained candidates against the plain one, by the images that choose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx.parity.acceptance_gates import Gate
from ctonnx_export.quantization.search.judging import Judging, judged_by
from ctonnx_export.trial import ComparisonSet, Measured, judge

__all__ = ["Finalist", "select"]


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A candidate: its name, its model, and its outputs for all compared images."""

    label: str
    model: onnx.ModelProto
    measured: Measured


def select(
    plain: Finalist, trained: Sequence[Finalist], judging: Judging, compared: ComparisonSet, gate: Gate
) -> tuple[Finalist, Judging]:
    """Chooses the best candidate, the plain one if others are not better, and returns it with what judges it.

    The images that choose are those of the search. In folds, each fold is judged by the best of the trained candidates
    and of the plain one that the other folds chose: no compared image has a part in the training, so that the choice is
    the only one to judge.

    Args:
        plain: Candidate that the search chose.
        trained: Candidates that were trained from the calibration images alone.
        judging: Images that judge the plain candidate, and what each division of them chose.
        compared: Compared images.
        gate: Gate that the candidates must pass.
    """

    def best(first: Measured, rows: NDArray[np.intp]) -> int:
        """Returns the number of the best trained candidate, or -1 for the plain one."""
        scores = [judge(of, compared, gate, rows).score for of in (first, *(one.measured for one in trained))]
        return scores.index(max(scores)) - 1

    chosen = best(plain.measured, judging.choosing)
    choices = []
    for choice in judging.choices:
        number = best(choice.measured, choice.choosing)
        winner = trained[number] if number >= 0 else None
        choices.append(replace(choice, label=winner.label, measured=winner.measured) if winner else choice)
    return (trained[chosen] if chosen >= 0 else plain), judged_by(choices, len(compared))
