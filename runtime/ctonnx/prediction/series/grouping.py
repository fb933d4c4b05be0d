"""Files to groups: the slices of each series, study, patient or folder."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ctonnx.errors import CtonnxError
from ctonnx.prediction.series.choice import LeftOut, choose_series, choose_slices, matches_filter
from ctonnx.prediction.series.repeats import without_repeats
from ctonnx.prediction.series.slices import SliceReader, SliceRecord, folder_of
from ctonnx.system.text import counted

__all__ = ["Group", "GroupBy", "Grouping", "group_files", "unique"]

GroupBy: TypeAlias = Literal["series", "study", "patient", "folder"]
"""Kind of a group."""

_ELEMENTS = {"series": "SeriesInstanceUID", "study": "StudyInstanceUID", "patient": "PatientID"}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files that have one prediction together.

    Attributes:
        by: Kind of the group.
        name: Pseudonym of the series, study or patient, or path of the folder; None of files without one.
        folders: Folders of all its files, in the order of the files.
        files: Slices to predict, in the order of the files; none if it has no suitable series.
        left_out: Slices that are not predicted, with their reasons.
        taken: The series that was chosen of a study or patient, or by a filter alone, and why; empty for others.
        failed: Number of files that belong to no group.
        error: Reason why nothing of the group can be predicted; None of a series whose slices are all left out.
    """

    by: GroupBy
    name: str | None
    folders: tuple[str, ...]
    files: tuple[SliceRecord, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    taken: str = ""
    failed: int = 0
    error: str | None = None

    def with_headers(self, read: SliceReader) -> "Group":
        """Returns the group with the headers of its files, which of a folder are read only now: each slice once."""
        if self.by != "folder":
            return self
        files, repeats = without_repeats([read(one.file) for one in self.files])
        return replace(self, files=tuple(files), left_out=(*self.left_out, *repeats))


class Grouping(NamedTuple):
    """Groups in the order of their first files, and the series that the filter left out as a whole."""

    groups: list[Group]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def files(self) -> int:
        """Number of files to predict."""
        return sum(len(group.files) for group in self.groups)


def unique(files: Iterable[str]) -> list[str]:
    """Returns each file once, the first path of several for one: a slice must not count twice."""
    first: dict[str, str] = {}
    for file in files:
        first.setdefault(os.path.normpath(Path(file).absolute()), file)
    return list(first.values())


def group_files(
    files: Sequence[str],
    by: GroupBy,
    read: SliceReader,
    *,
    series_filter: str | None = None,
    needs_slices: bool = True,
) -> Grouping:
    """Groups files; of a study or patient, one series is chosen. A slice that is in several files counts once.

    Of a series, slices that are not a CT's, localizers and slices of another plane are left out; if these are all its
    slices, it is a group without files and without an error. A series that matches the filter is taken as it is then.
    Folders are those that contain a file directly, and their headers are not read yet. By series, study or patient, the
    files without one, such as those that are not DICOM, become a group with an error for each of their folders.

    Args:
        files: Paths, each once.
        by: Kind of the groups.
        read: Reads the header of a file.
        series_filter: Text that a series must match, see `choice.matches_filter`; not for folders.
        needs_slices: Whether a suitable slice in at least one series is required.

    Raises:
        CtonnxError: If no file belongs to a group, no group has a series that matches the filter, or no series has a
            suitable slice that is required.
    """
    if by == "folder":
        folders: dict[str, list[SliceRecord]] = {}
        for file in files:
            folders.setdefault(folder_of(file), []).append(SliceRecord(file))
        return Grouping([Group(by=by, name=name, folders=(name,), files=tuple(of)) for name, of in folders.items()])
    found: dict[tuple[str, str], list[SliceRecord]] = {}
    for file in files:
        record = read(file)
        name: str = getattr(record, by)
        found.setdefault((name, "" if name else folder_of(file)), []).append(record)
    if not any(name for name, _ in found):
        raise CtonnxError(
            f"expected DICOM files with a {_ELEMENTS[by]} for --by {by}, found none in {counted(len(files), 'file')}, "
            f"such as '{files[0]}'; use --by folder"
        )
    kernels = sorted({one.kernel for slices in found.values() for one in slices} - {""})
    left_out = []
    if by == "series" and series_filter is not None:
        for key, slices in list(found.items()):
            if key[0] and not matches_filter(slices, series_filter):
                left_out.append(LeftOut("not matching the filter", sum(one.frames for one in found.pop(key))))
    groups = []
    for (name, folder), slices in found.items():
        if not name:
            groups.append(_nameless(by, folder, slices))
            continue
        for number, of_one in enumerate(_by_study(slices) if by == "series" else [slices], start=1):
            groups.append(_group(by, name if number == 1 else f"{name}-{number}", of_one, series_filter))
    if series_filter is not None and not any(group.files for group in groups):
        raise CtonnxError(
            f"expected series whose kernel or folder matches '{series_filter}', found none; their kernels "
            f"are: {', '.join(kernels) or 'unknown'}"
        )
    if needs_slices and by == "series" and not any(group.files for group in groups):
        counts = Counter[str]()
        for left in (left for group in groups for left in group.left_out):
            counts[left.kind] += left.slices
        found_ones = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        raise CtonnxError(
            f"expected axial CT slices for --by series, found none ({found_ones}); --series-filter selects other "
            "series, and --by folder takes all files"
        )
    return Grouping(groups, tuple(left_out))


def _by_study(slices: Sequence[SliceRecord]) -> list[list[SliceRecord]]:
    """Returns the slices of a series by patient and study; a damaged anonymization may give two series one UID.

    Slices without a patient or a study are with the first.
    """
    found: dict[tuple[str, str], list[SliceRecord]] = {
        (one.patient, one.study): [] for one in slices if one.patient and one.study
    }
    if len(found) < 2:
        return [list(slices)]
    first = next(iter(found))
    for one in slices:
        found[(one.patient, one.study) if one.patient and one.study else first].append(one)
    return list(found.values())


def _group(by: GroupBy, name: str, slices: Sequence[SliceRecord], series_filter: str | None) -> Group:
    folders = tuple(dict.fromkeys(folder_of(one.file) for one in slices))
    slices, repeats = without_repeats(slices)
    if by == "series":
        choice = choose_slices(slices, is_requested=series_filter is not None)
    else:
        choice = choose_series(slices, series_filter=series_filter)
    error = None
    if by != "series" and not choice.slices:
        error = f"no axial CT series: {', '.join(f'{left.slices} {left.reason}' for left in choice.left_out)}"
    return Group(
        by=by,
        name=name,
        folders=folders,
        files=tuple(choice.slices),
        left_out=(*choice.left_out, *repeats),
        taken=choice.why,
        error=error,
    )


def _nameless(by: GroupBy, folder: str, slices: Sequence[SliceRecord]) -> Group:
    counts = list(_counts(by, slices))
    error = f"{' and '.join(counts)}, such as '{slices[0].file}'; use --by folder"
    return Group(by=by, name=None, folders=(folder,), failed=len(slices), error=error)


def _counts(by: GroupBy, slices: Sequence[SliceRecord]) -> Iterator[str]:
    dicom = sum(one.is_dicom for one in slices)
    if dicom:
        yield f"{counted(dicom, 'DICOM file')} without a {_ELEMENTS[by]}"
    if other := len(slices) - dicom:
        yield f"{counted(other, 'file')} that cannot be read as DICOM"
