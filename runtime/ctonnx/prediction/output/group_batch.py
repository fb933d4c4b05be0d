"""Predicts the groups of a list of files: writes a row and a picture for each group, and counts the results."""

import errno
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args

from PIL import Image

from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import CtonnxError
from ctonnx.images import load
from ctonnx.images.preprocessing import DicomWindow
from ctonnx.prediction.inputs import HEATMAP_ENDING
from ctonnx.prediction.output.batch import OutputSettings, row_writer
from ctonnx.prediction.output.group_rows import GROUP_FORMATS
from ctonnx.prediction.output.heatmap_folder import common_root, heatmap_name
from ctonnx.prediction.output.provenance import provenance
from ctonnx.prediction.output.row_order import ordered
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction, Record
from ctonnx.prediction.series.grouping import Group, GroupBy, Grouping
from ctonnx.prediction.series.reduction import GroupFailure, GroupPrediction, GroupRecord, GroupRule
from ctonnx.prediction.series.slices import SliceReader, SliceRecord
from ctonnx.prediction.series.stream import predict_groups
from ctonnx.system.files import atomic_file, made_folders
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import counted

__all__ = ["FileSource", "GroupBatchResult", "GroupWatch", "check_no_pictures", "decode_slice", "predict_group_files"]

_Named = TypeVar("_Named", Group, GroupRecord)

_NO_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})  # no other picture can be written either


class GroupWatch(Protocol):
    """Sees the records of a batch of groups, to make more of them than rows and pictures."""

    def add(self, record: Record) -> None:
        """Is called with the record of each file or frame, in the order of the slices."""

    def finish(self, group: Group, record: GroupRecord) -> None:
        """Is called with each group and its result, after its last record and before the first one of the next."""


class FileSource(Protocol):
    """Provides files only while they are needed, such as those of a study that is retrieved from a server."""

    @property
    def files(self) -> Sequence[str]:
        """Paths of all files; a path has no file before `fetch`."""

    def read(self, file: str) -> SliceRecord:
        """Returns the facts of a file, which may not be there yet."""

    def fetch(self, file: str) -> str:
        """Provides a file, and returns its path; it is called in order, shortly before the file is decoded.

        If it cannot be provided, there is no file, and its slice is one that cannot be read.
        """

    def explained(self, record: Record) -> Record:
        """Returns the record of a file; with the reason of a file that could not be provided."""

    def provided(self, group: Group) -> Group:
        """Returns a group without the files that could not be provided."""

    def shown(self, text: str) -> str:
        """Returns the name of a file or folder in rows, by its path or a text that has paths."""

    def release(self, group: Group) -> None:
        """Is called with each group once none of its files is needed any more."""


@dataclass(kw_only=True)
class GroupBatchResult:
    """Counts of a batch of groups.

    Attributes:
        predicted: Number of groups with a prediction.
        decisions: Number of groups of each decision.
        failed: Number of series, studies, patients or folders without a prediction.
        used: Number of predicted slices.
        failed_files: Number of files, and of frames of files, that cannot be read or belong to no group.
        left_out: Number of slices that were left out, by the kind of the reason.
        left_out_series: Number of series whose slices were all left out.
        mixed: Number of folders with slices of several series.
        undrawn: Group and reason of each picture that was not drawn.
        seconds: Time without opening the model and without grouping.
    """

    predicted: int = 0
    decisions: dict[DecisionName, int] = field(default_factory=lambda: dict.fromkeys(get_args(DecisionName), 0))
    failed: int = 0
    used: int = 0
    failed_files: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_series: int = 0
    mixed: int = 0
    undrawn: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def check_no_pictures(folder: Path, by: GroupBy) -> None:
    """Checks that a folder has no pictures of an earlier run whose names are pseudonyms.

    Pseudonyms are new in each run: such a picture would neither be replaced nor match a row, and the same patient would
    have two. Pictures of folders are named by these, and replaced.

    Raises:
        CtonnxError: If the folder has pictures of series, studies or patients, whichever `by` is.
    """
    if by == "folder" or not folder.is_dir():
        return
    name = re.compile(rf"{by}-[0-9a-f]{{16}}{re.escape(HEATMAP_ENDING)}")
    if found := sum(name.fullmatch(one) is not None for one in os.listdir(folder)):
        raise CtonnxError(
            f"expected a folder without pictures of an earlier --by {by} for --heatmaps, found "
            f"{counted(found, 'picture')} in '{folder}', whose pseudonyms match no row of this run; name another "
            "folder, or delete them"
        )


def predict_group_files(
    predictor: Predictor,
    grouping: Grouping,
    rule: GroupRule,
    settings: OutputSettings,
    *,
    read: SliceReader,
    progress: AbstractContextManager[Callable[[int], None]],
    watch: GroupWatch | None = None,
    source: FileSource | None = None,
) -> GroupBatchResult:
    """Predicts groups, at least one, and writes a row and, if there is a folder for them, a picture for each.

    `rule` decides about a group, `read` reads the headers of a folder's files, `watch` sees all records, and `source`
    provides the files if they are not on the disk. The other arguments are those of
    `ctonnx.prediction.output.batch.predict_files`.

    Raises:
        OSError: If a row or picture cannot be written.
        NotEnoughMemory: If the memory does not suffice for a batch or for the threads.
    """
    spec, start, result = predictor.spec, time.perf_counter(), GroupBatchResult()
    groups = grouping.groups
    for left in grouping.left_out:
        result.left_out[left.kind] += left.slices
    head, line = GROUP_FORMATS[settings.row_format](
        groups if source is None else [_shown(group, source) for group in groups],
        spec,
        rule,
        min(settings.top_k, len(spec.classes)),
        partial(provenance, predictor.path, spec, settings.time, sha256=predictor.signed_sha256),
    )
    with ExitStack() as stack:
        write = stack.enter_context(row_writer(settings))
        pictures = None
        if (heatmaps := settings.heatmaps) is not None:
            remove_leftovers((Path(inner) for inner, *_ in os.walk(heatmaps)), settings.log)
            stack.enter_context(made_folders(heatmaps))
            pictures = _Pictures(heatmaps, groups, spec, rule)
        put = stack.enter_context(ordered(write, settings.sort))
        step = stack.enter_context(progress)
        if head:
            write(head)

        def on_record(record: Record) -> None:
            step(not record.frame)
            if watch is not None:
                watch.add(record)

        def predict(files: Iterator[str]) -> Iterator[Record]:
            there = files if source is None else map(source.fetch, files)
            found = predictor.predict_many(there, batch_size=settings.batch_size)
            return found if source is None else map(source.explained, found)

        records = predict_groups(
            groups,
            predict,
            spec=spec,
            rule=rule,
            read=read,
            on_record=on_record,
        )
        for group, record in zip(groups, records, strict=True):
            if watch is not None:
                watch.finish(group if source is None else source.provided(group), record)
            _count(record, result)
            is_shown = not (settings.suspicious_only and _is_unsuspicious(record))
            picture = None if pictures is None else pictures.draw(record, is_shown=is_shown)
            if is_shown:
                put(record, line(record if source is None else _shown(record, source), picture))
            if source is not None:
                source.release(group)
    if pictures is not None:
        result.undrawn = pictures.failures
    result.seconds = time.perf_counter() - start
    return result


def _shown(one: _Named, source: FileSource) -> _Named:
    """Returns a group or its result with the names of its folders and files in rows."""
    changes: dict[str, Any] = {"folders": tuple(map(source.shown, one.folders))}
    if not isinstance(one, GroupPrediction) and one.error is not None:
        changes["error"] = source.shown(one.error)
    if not isinstance(one, Group):
        changes["failures"] = tuple(replace(failed, source=source.shown(failed.source)) for failed in one.failures)
    if isinstance(one, GroupPrediction):
        changes["carried_by"] = tuple(found._replace(file=source.shown(found.file)) for found in one.carried_by)
    return replace(one, **changes)


def _is_unsuspicious(record: GroupRecord) -> bool:
    return record.error is None if isinstance(record, GroupFailure) else record.decision == "negative"


def _count(record: GroupRecord, result: GroupBatchResult) -> None:
    result.failed_files += record.failed
    for left in record.left_out:
        result.left_out[left.kind] += left.slices
    if isinstance(record, GroupFailure):
        result.left_out_series += record.error is None
        result.failed += record.name is not None and record.error is not None
        return
    result.predicted += 1
    result.decisions[record.decision] += 1
    result.used += record.used
    result.mixed += record.by == "folder" and record.series > 1


class _Pictures:
    """A picture for each group below a folder: named by its pseudonym, or in the layout of the folders."""

    def __init__(self, folder: Path, groups: Sequence[Group], spec: ModelSpec, rule: GroupRule) -> None:
        self._folder, self._spec, self._rule = folder, spec, rule
        # A folder of scans is drawn as a file of its parent: pictures of two folders never have the same name.
        self._root = common_root(group.name or "." for group in groups) if groups[0].by == "folder" else ""
        self.failures: list[tuple[str, str]] = []

    def draw(self, record: GroupRecord, *, is_shown: bool) -> Path | None:
        """Draws a group if it is shown, and returns the picture's path; else removes the picture of an earlier run."""
        if record.name is None:
            return None
        path = self._path(record.by, record.name)
        if isinstance(record, GroupFailure) or not is_shown:
            self._remove(path, record.name)
            return None
        from ctonnx.prediction.output.pictures.series_picture import draw_group  # 18 ms, for Pillow's fonts

        try:  # a picture that cannot be drawn must not end the whole run
            scans = [decode_slice(found, self._spec.dicom_window) for _, found in record.strongest]
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary:
                draw_group(record, scans, self._spec, self._rule).save(temporary, "PNG")
        except OSError as error:
            if error.errno in _NO_MORE:
                raise
            self._fail(path, record.name, error.strerror or str(error))
        except Exception as error:
            self._fail(path, record.name, str(error) or type(error).__name__)
        else:
            return path
        return None

    def _path(self, by: GroupBy, name: str) -> Path:
        if by == "folder":
            return self._folder / heatmap_name(name, self._root)
        return self._folder / f"{by}-{name}{HEATMAP_ENDING}"

    def _remove(self, path: Path, name: str) -> None:
        try:
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
        except OSError as error:
            self.failures.append((name, f"an earlier picture stays ({error.strerror or error}: '{path}')"))

    def _fail(self, path: Path, name: str, reason: str) -> None:
        self.failures.append((name, reason))
        self._remove(path, name)


def decode_slice(found: Prediction, window: DicomWindow) -> Image.Image:
    """Decodes the image of a prediction again: only the strongest slices of a group are needed, once it is complete."""
    if found.frame is None:
        return load(found.source, window=window).image
    return load(found.source.removesuffix(f"#{found.frame + 1}"), window=window, frame=found.frame).image
