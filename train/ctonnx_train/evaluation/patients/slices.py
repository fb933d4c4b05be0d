"""Slices that a patient's score comes from: those that `ctonnx predict --by patient` takes, each once."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.prediction.series.choice import OTHER_STUDY, LeftOut, choose_series
from ctonnx.prediction.series.repeats import REPEATED, image_key, without_repeats
from ctonnx.prediction.series.slices import SliceRecord
from ctonnx.system.text import counted
from ctonnx_train.data.leakage import Digests
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample

__all__ = ["ChosenSlices", "choose_slices", "left_out_in_words"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenSlices:
    """Slices of patients that their scores come from.

    Attributes:
        used: Whether each slice is one of them, bool [slices].
        of_study: Whether each slice is of the study whose series was taken: these give the patient's class, bool
            [slices].
        has_other_study: Whether the slice is used and its patient has another study, which is not, bool [slices].
        left_out: Number of slices that are left out, by the reason.
        series: Number of series that are left out as a whole.
        patients: Number of patients that are left out, as they have no axial CT series.
    """

    used: NDArray[np.bool_]
    of_study: NDArray[np.bool_]
    has_other_study: NDArray[np.bool_]
    left_out: Mapping[str, int] = field(default_factory=dict)
    series: int = 0
    patients: int = 0

    def take(self, rows: NDArray[np.integer[Any]]) -> "ChosenSlices":
        """Returns the same choice for some rows of the slices; the counts remain those of all."""
        used, of_study, has_other_study = self.used[rows], self.of_study[rows], self.has_other_study[rows]
        return replace(self, used=used, of_study=of_study, has_other_study=has_other_study)

    def as_dict(self) -> dict[str, Any] | None:
        """Returns `slices`, by reason, `series` and `patients` that are left out; None if nothing is."""
        if not self.left_out:
            return None
        return {"slices": dict(self.left_out), "series": self.series, "patients": self.patients}


def choose_slices(patients: Patients, samples: Sequence[Sample], digests: Digests | None = None) -> ChosenSlices:
    """Chooses the slices of each patient by the rules of prediction, as far as headers and labels files have the facts.

    A slice that is in several files counts once; without the headers' facts, those with identical pixels are one. A
    copy with another class is kept, as nobody knows which of the two is right. Then one series of each patient is
    taken, by `ctonnx.prediction.series.choice.choose_series`: where only the numbers of slices are known, the largest.
    A patient without an axial CT series is left out, as prediction has none to decide on; if all patients are like
    that, all slices are used.

    Args:
        patients: Patients of the samples.
        samples: Slices in any order; of equal series, the one with the first path is taken.
        digests: Digest of the pixels of each sample, by path; None if unknown.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(patients.of(samples)):
        rows.setdefault(name, []).append(row)
    used, of_study, other = (np.zeros(len(samples), bool) for _ in range(3))
    counts = Counter[str]()
    repeats, series, unsuitable = 0, 0, 0
    unique = np.zeros(len(samples), bool)
    label = {sample.path: sample.label for sample in samples}

    def key(one: SliceRecord) -> Hashable | None:
        image = image_key(one)
        if image is None and digests is not None:
            image = "pixels", digests[one.file]
        return None if image is None else (image, label[one.file])

    for of in rows.values():
        row_of = {samples[row].path: row for row in of}
        records, repeated = without_repeats([patients.slice_of(path) for path in sorted(row_of)], key)
        unique[[row_of[one.file] for one in records]] = True
        repeats += sum(one.slices for one in repeated)
        choice = choose_series(records)
        _count(choice.left_out, counts)
        taken = {one.series_key for one in choice.slices}
        series += len({one.series_key for one in records} - taken)
        unsuitable += not taken
        used[[row_of[one.file] for one in choice.slices]] = True
        study = choice.slices[0].study if choice.slices else None
        of_study[[row for path, row in row_of.items() if patients.slice_of(path).study == study]] = True
        other[of] = any(left.kind == OTHER_STUDY for left in choice.left_out)
    if not used.any():
        counts.clear()
        used, of_study, series, unsuitable = unique, np.ones(len(samples), bool), 0, 0
    if repeats:
        counts[REPEATED] = repeats
    return ChosenSlices(
        used=used,
        of_study=of_study,
        has_other_study=other & used,
        left_out=dict(sorted(counts.items())),
        series=series,
        patients=unsuitable,
    )


def left_out_in_words(found: Mapping[str, Any] | None) -> str:
    """Returns the slices, series and patients in `ChosenSlices.as_dict` that are left out as a sentence; or nothing.

    >>> left_out_in_words({"slices": {"exported twice": 2, "of another series": 8}, "series": 1, "patients": 0})
    'one series of each patient is used: left out 10 slices (2 exported twice, 8 of another series), 1 whole series'
    """
    if not found:
        return ""
    slices = found["slices"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in slices.items())
    parts = [f"{counted(sum(slices.values()), 'slice')} ({kinds})"]
    parts += [f"{found['series']} whole series"] if found["series"] else []
    parts += [f"{counted(found['patients'], 'patient')} without an axial CT series"] if found["patients"] else []
    return f"one series of each patient is used: left out {', '.join(parts)}"


def _count(left_out: Sequence[LeftOut], counts: Counter[str]) -> None:
    for left in left_out:
        counts[left.kind] += left.slices
