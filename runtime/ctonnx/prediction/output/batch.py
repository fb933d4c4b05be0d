"""Predicts a list of files: writes a row and a heatmap for each image, and counts the results."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.prediction.output.provenance import provenance
from ctonnx.prediction.output.row_formats import FORMATS
from ctonnx.prediction.output.row_order import ordered
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure
from ctonnx.system.files import atomic_file, made_folders
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log

if TYPE_CHECKING:
    from ctonnx.prediction.output.heatmap_folder import HeatmapFolder

__all__ = ["BatchResult", "OutputSettings", "predict_files", "row_writer"]


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """Rows and pictures of a batch.

    Attributes:
        row_format: Key of `row_formats.FORMATS`, and of `group_rows.GROUP_FORMATS` for groups.
        top_k: Number of classes per row.
        sort: Key of `row_order.SORT_KEYS`; None keeps the order of the files. "score" needs an operating point.
        suspicious_only: Whether only images or groups that are positive or referred, and failures, have rows and
            pictures; this needs an operating point.
        batch_size: Number of images per batch; None is that of the provider.
        output: File that the rows replace atomically; None calls `print_row` with each.
        heatmaps: Folder of the pictures; None draws none.
        add_row: Called with each row instead, if something else than this batch writes `output`.
        print_row: Called with each row if there is no `output`.
        time: Start of the run, with its time zone; None if it starts now.
        log: Called with messages about temporary files of killed processes.
    """

    row_format: str
    top_k: int = 1
    sort: str | None = None
    suspicious_only: bool = False
    batch_size: int | None = None
    output: Path | None = None
    heatmaps: Path | None = None
    add_row: Callable[[str], None] | None = None
    print_row: Callable[[str], None] = print
    time: datetime | None = None
    log: Log = lambda line: None


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """Numbers of images, source and reason of each heatmap that was not drawn, seconds without opening the model."""

    predicted: int
    decisions: Mapping[DecisionName, int]
    failed: int
    undrawn: list[tuple[str, str]]
    seconds: float


def predict_files(
    predictor: Predictor,
    files: Sequence[str],
    settings: OutputSettings,
    *,
    progress: AbstractContextManager[Callable[[int], None]],
) -> BatchResult:
    """Predicts files, and writes their rows and heatmaps.

    `progress` is entered for the duration of the prediction, and its function is called with numbers of finished files.

    Raises:
        OSError: If a row or heatmap cannot be written.
        NotEnoughMemory: If the memory does not suffice for a batch or for the threads.
    """
    spec = predictor.spec
    origin = partial(provenance, predictor.path, spec, settings.time, sha256=predictor.signed_sha256)
    head, line = FORMATS[settings.row_format](files, spec, min(settings.top_k, len(spec.classes)), origin)
    predicted, decisions, failed, start = 0, dict.fromkeys(get_args(DecisionName), 0), 0, time.perf_counter()
    with (
        row_writer(settings) as write,
        _heatmap_folder(files, spec, settings) as drawing,
        ordered(write, settings.sort) as put,
        progress as step,
    ):
        if head:
            write(head)
        watch = None if drawing is None else drawing.watch
        for record in predictor.predict_many(files, batch_size=settings.batch_size, watch=watch):
            if isinstance(record, Failure):
                failed += 1
                put(record, line(record, None))
                if drawing is not None:
                    drawing.remove(record)
            else:
                predicted += 1
                if record.decision is not None:
                    decisions[record.decision] += 1
                if record.decision != "negative" or not settings.suspicious_only:
                    put(record, line(record, None if drawing is None else drawing.picture(record)))
            step(not record.frame)
    return BatchResult(
        predicted=predicted,
        decisions=decisions,
        failed=failed,
        undrawn=[] if drawing is None else drawing.failures,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def row_writer(settings: OutputSettings) -> Iterator[Callable[[str], None]]:
    """Yields a function that writes a row: prints it, or adds it to a file, which appears if there is no error."""
    if (output := settings.output) is None or settings.add_row is not None:
        yield settings.add_row or settings.print_row
        return
    remove_leftovers([Path(os.path.realpath(output)).parent], settings.log)
    with (
        made_folders(output.parent),
        atomic_file(output) as temporary,
        # File names with invalid UTF-8 are written escaped, as on stdout.
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        yield lambda row: print(row, file=file)


def _heatmap_folder(
    files: Sequence[str], spec: ModelSpec, settings: OutputSettings
) -> AbstractContextManager["HeatmapFolder | None"]:
    if (folder := settings.heatmaps) is None:
        return nullcontext()
    from ctonnx.prediction.output.heatmap_folder import HeatmapFolder  # 18 ms, for Pillow's fonts

    remove_leftovers((Path(inner) for inner, *_ in os.walk(folder)), settings.log)
    return HeatmapFolder(folder, files, spec, suspicious_only=settings.suspicious_only)
