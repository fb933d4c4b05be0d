"""Choice of axial slices, and of one series of a study or patient; all others are left out with their reason."""

import fnmatch
import glob
import math
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ctonnx.prediction.series.slices import SliceRecord
from ctonnx.system.text import counted

__all__ = ["OTHER_STUDY", "Choice", "LeftOut", "choose_series", "choose_slices", "matches_filter"]

OTHER_STUDY = "of another study"
"""Kind of `LeftOut` of slices that are not of the study whose series was taken."""

_NOT_CT, _LOCALIZER = "not a CT", "localizer"
_WITHOUT_FINDINGS = (_NOT_CT, _LOCALIZER)


class LeftOut(NamedTuple):
    """Slices of a group that are not predicted.

    Attributes:
        kind: Reason that slices of many groups share, such as `localizer`.
        slices: Number of slices; each frame of a file is one.
        detail: The series that they are of; empty if its kind is enough.
    """

    kind: str
    slices: int
    detail: str = ""

    @property
    def reason(self) -> str:
        """Kind and detail."""
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


class Choice(NamedTuple):
    """The slices to predict, why they were taken, and the others."""

    slices: list[SliceRecord]
    why: str
    left_out: tuple[LeftOut, ...]


def choose_series(slices: Sequence[SliceRecord], *, series_filter: str | None = None) -> Choice:
    """Chooses one axial series of a study or patient.

    Left out are slices that are not a CT's, localizers, slices of another plane, and series that do not match the
    filter. Of the remaining series, the one with the most slices is taken; of several, that with the thinnest slices,
    and then the first in the order of the files. A series whose headers give no plane is only taken if there is no
    axial one. Slices without a series are those of their study or folder; see `SliceRecord.series_key`.

    Args:
        slices: Slices of any series, in the order of the files.
        series_filter: Text that the series must match; see `matches_filter`.

    Returns:
        The slices of the chosen series, in the given order: none if no series remains.
    """
    suitable, unsuitable = _divide(slices)
    left: dict[tuple[str, str, str], list[SliceRecord]] = {}
    for one in suitable:
        left.setdefault(one.series_key, []).append(one)
    if series_filter is not None:
        for name, inner in list(left.items()):
            if not matches_filter(inner, series_filter):
                unsuitable += [(one, "not matching the filter") for one in left.pop(name)]
    if not left:
        return Choice([], "", _counted(unsuitable))
    ranked = sorted(left.values(), key=_rank)
    taken, *others = ranked
    left_out = list(_counted(unsuitable, study=taken[0].study))
    for inner in others:
        of = "of another series" if inner[0].study == taken[0].study else OTHER_STUDY
        left_out.append(LeftOut(of, _count(inner), _describe(inner)))
    why = _why(taken, others, is_left=bool(unsuitable))
    return Choice(taken, f"{_describe(taken)}: {why}", tuple(left_out))


def choose_slices(slices: Sequence[SliceRecord], *, is_requested: bool = False) -> Choice:
    """Chooses the slices of one series: without those that are not a CT's, localizers, and slices of another plane.

    Args:
        slices: Slices of the series.
        is_requested: Whether a filter selected this series: if no slice of it is suitable, all are taken.

    Returns:
        The slices in the given order: none if no slice is suitable. The reason is empty if these are ordinary.
    """
    suitable, unsuitable = _divide(slices)
    if is_requested and not suitable:
        kinds = ", ".join(sorted({reason for _, reason in unsuitable}))
        return Choice(list(slices), f"{_describe(slices)}, {kinds}: selected by the filter", ())
    return Choice(suitable, "", _counted(unsuitable))


def matches_filter(slices: Sequence[SliceRecord], text: str) -> bool:
    """Returns whether the kernel or a folder of a series matches a text; upper and lower case are the same.

    A text with `*`, `?` or `[` is a pattern for the whole kernel, the whole folder, or the last part of the folder; any
    other text must be a part of the kernel or of the folder.

    >>> one = SliceRecord("p1/LUNG 1.0 B60f/1.dcm", kernel="B60f")
    >>> [matches_filter([one], text) for text in ("b60", "lung*", "b6?", "*/lung*", "b30")]
    [True, True, False, True, False]
    """
    text = text.casefold()
    kernels = {one.kernel.casefold() for one in slices} - {""}
    folders = {os.path.split(one.file)[0].replace(os.sep, "/").casefold() for one in slices}
    if not glob.has_magic(text):
        return any(text in name for name in kernels | folders)
    names = kernels | folders | {folder.rpartition("/")[2] for folder in folders}
    return any(fnmatch.fnmatchcase(name, text) for name in names)


def _why(taken: Sequence[SliceRecord], others: Sequence[Sequence[SliceRecord]], *, is_left: bool) -> str:
    """Returns the reason to take a series before the others, which come in the order of their ranks."""
    if not others:
        return "the only suitable series" if is_left else "the only series"
    pairs = zip(_rank(taken), _rank(others[0]), ("axial", "most slices", "thinnest slices"), strict=True)
    return next((name for one, other, name in pairs if one != other), "the first of equal series")


def _rank(slices: Sequence[SliceRecord]) -> tuple[bool, int, float]:
    known = [one.thickness for one in slices if one.thickness is not None]
    return all(one.plane is None for one in slices), -_count(slices), min(known, default=math.inf)


def _divide(slices: Sequence[SliceRecord]) -> tuple[list[SliceRecord], list[tuple[SliceRecord, str]]]:
    """Returns the slices that may be of a chosen series, and the others with their reasons."""
    reasons = [(one, _unsuitable(one)) for one in slices]
    return [one for one, reason in reasons if reason is None], [(one, reason) for one, reason in reasons if reason]


def _counted(slices: Sequence[tuple[SliceRecord, str]], study: str | None = None) -> tuple[LeftOut, ...]:
    """Returns the number of slices of each reason.

    Of another study than that of the series that was taken, a CT that is not a localizer may show a finding: it is
    counted as of another study, whatever its reason.
    """
    counts = Counter[str]()
    for one, reason in slices:
        may_show_more = study is not None and one.study != study and reason not in _WITHOUT_FINDINGS
        counts[OTHER_STUDY if may_show_more else reason] += one.frames
    return tuple(LeftOut(kind, count) for kind, count in sorted(counts.items()))


def _unsuitable(one: SliceRecord) -> str | None:
    """Returns the reason why a slice cannot be of the chosen series, or None."""
    if one.modality not in ("", "CT"):
        return _NOT_CT
    if one.is_localizer:
        return _LOCALIZER
    return None if one.plane in (None, "axial") else f"{one.plane}"


def _count(slices: Sequence[SliceRecord]) -> int:
    return sum(one.frames for one in slices)


def _describe(slices: Sequence[SliceRecord]) -> str:
    """Returns the number, kernel and thickness of the slices of a series."""
    first = slices[0]
    kernel = f"kernel {first.kernel}" if first.kernel else ""
    thickness = "" if first.thickness is None else f"{first.thickness:g} mm"
    return ", ".join(filter(None, (counted(_count(slices), "slice"), kernel, thickness)))
