"""Division of the compared images into those that choose an INT8 candidate and those that judge it.

The best of many candidates is partly the best by chance on the images that chose it, so that its agreement there is
optimistic (Varma and Simon 2006, https://doi.org/10.1186/1471-2105-7-91). The agreement that is reported comes from
images that did not take part in the choice: those of another half or, where images are few, of each fold in turn, whose
outputs are those of the candidate that the other folds choose (Stone 1974,
https://doi.org/10.1111/j.2517-6161.1974.tb00994.x).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs
from ctonnx_export.trial import ComparisonSet, Measured

__all__ = ["FOLDS", "HALVES_FROM", "DividedChoice", "Division", "Judging", "deal", "divide", "judged_by"]

FOLDS = 5
"""Number of folds: each choice then uses four fifths of the images."""

HALVES_FROM = 400
"""Least number of compared images that are halved.

Of 200 images that judge, two may differ at an agreement of 99 %, so that a single one does not decide. With fewer, all
images judge, in folds.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Division:
    """Rows that choose a candidate, and rows that judge it."""

    choosing: NDArray[np.intp]
    judging: NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class DividedChoice(Division):
    """A division, with the name and the outputs of the candidate that its choosing rows chose."""

    label: str
    measured: Measured


@dataclass(frozen=True, kw_only=True, eq=False)
class Judging:
    """Images, and their outputs, that judge the chosen candidate.

    Attributes:
        method: `halves`, `folds`, or `none` if a single image both chose and judged.
        choosing: Rows that chose the file's candidate.
        judging: Rows that judge: the other half, or all.
        outputs: Outputs for all images, each of the candidate that the other folds chose; None without folds.
        folds: Name of the candidate that each fold's other images chose; empty without folds.
        choices: Choice of each division.
    """

    method: Literal["halves", "folds", "none"]
    choosing: NDArray[np.intp]
    judging: NDArray[np.intp]
    outputs: Outputs | None = None
    folds: tuple[str, ...] = ()
    choices: tuple[DividedChoice, ...] = ()

    @property
    def place(self) -> str:
        """Images that judge, for the reason of a rejection."""
        images = len(self.judging)
        return {
            "halves": f"on the {images} images that judge, which chose nothing",
            "folds": f"on {images} images, each with the candidate that the other folds chose",
            "none": "on the single image that there is",
        }[self.method]

    def as_dict(self, compared: ComparisonSet) -> dict[str, Any]:
        """Returns the entries for the report and the spec: the method, and the numbers of images by their origin."""
        found: dict[str, Any] = {
            "method": self.method,
            "choosing": compared.counts(self.choosing),
            "judging": compared.counts(self.judging),
        }
        if self.folds:
            found["folds"] = dict(Counter(self.folds).most_common())
        return found


def divide(compared: ComparisonSet) -> tuple[Division, ...]:
    """Divides the images once in halves or, where they are few, into folds: a division for each, which judges in turn.

    Images of one patient, and copies of one image, stay together. The parts have the same shares of each origin and
    class, as far as that allows; the seed decides which images they have. A single image chooses and judges.
    """
    parts, labels = compared.part_of, compared.labels
    strata = [f"{part:03} {label:06}" for part, label in zip(parts.tolist(), labels.tolist(), strict=True)]
    groups = compared.groups
    if len(set(groups)) < 2:  # one patient
        groups = tuple(str(row) for row in range(len(strata)))
    count = min(2 if len(strata) >= HALVES_FROM else FOLDS, len(set(groups)))
    part = deal(strata, groups, count, compared.seed)
    rows = np.arange(len(part))
    if count < 2:
        return (Division(choosing=rows, judging=rows),)
    divisions = [Division(choosing=rows[part != fold], judging=rows[part == fold]) for fold in range(count)]
    return tuple(divisions[:1]) if len(strata) >= HALVES_FROM else tuple(divisions)


def judged_by(choices: Sequence[DividedChoice], images: int) -> Judging:
    """Returns the images and outputs that judge the choices of all divisions: one half, or folds."""
    every = np.arange(images)
    first = choices[0]
    if len(choices) == 1:
        method: Literal["halves", "none"] = "halves" if len(first.choosing) < images else "none"
        return Judging(method=method, choosing=first.choosing, judging=first.judging, choices=(first,))
    order = np.argsort(np.concatenate([choice.judging for choice in choices]))
    outputs = Outputs.concatenate([choice.measured.outputs[choice.judging] for choice in choices])[order]
    labels = tuple(choice.label for choice in choices)
    return Judging(method="folds", choosing=every, judging=every, outputs=outputs, folds=labels, choices=tuple(choices))


def deal(strata: list[str], groups: tuple[str, ...], parts: int, seed: int) -> NDArray[np.intp]:
    """Deals rows to parts: the part of each row.

    The groups of a stratum, the largest first and else in random order, go one by one to the part that has the fewest
    rows of this stratum, then the fewest of all. A group with rows of several strata counts as one of that of
    its first row.

    >>> deal(["a", "a", "b", "b"], ("1", "2", "3", "4"), 2, seed=0).tolist()
    [0, 1, 0, 1]
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    random = np.random.default_rng(seed)
    order = random.permutation(len(members))
    shuffled = [list(members.values())[index] for index in order]
    shuffled.sort(key=lambda rows: (strata[rows[0]], -len(rows)))  # stable: still random among equals
    total: Counter[int] = Counter()
    inside: Mapping[str, Counter[int]] = {name: Counter() for name in set(strata)}
    found = np.zeros(len(strata), np.intp)
    for rows in shuffled:
        own = inside[strata[rows[0]]]
        part = min(range(parts), key=lambda part: (own[part], total[part], part))
        found[rows] = part
        own[part] += len(rows)
        total[part] += len(rows)
    return found
