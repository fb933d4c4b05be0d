"""Predicts a list of files: writes a row and a heatmap for each image, and counts the results."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
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

__all__ = ["BatchResult", "predict_files", "row_file"]


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
    *,
    row_format: str,
    top_k: int,
    sort: str | None,
    suspicious_only: bool,
    batch_size: int | None,
    output: Path | None,
    heatmaps: Path | None,
    print_row: Callable[[str], None],
    progress: AbstractContextManager[Callable[[int], None]],
    log: Log,
) -> BatchResult:
    """Predicts files, and writes their rows and heatmaps.

    The rows, with `top_k` classes each, are in a format of `row_formats.FORMATS`, and sorted by a key of
    `row_order.SORT_KEYS` if one is given. They replace the file `output` atomically; without it, they go to
    `print_row`. With `suspicious_only`, only images that are positive or referred, and failures, have rows and
    heatmaps; this and the key "score" need an operating point. `progress` is entered for the duration of the
    prediction, and its function is called with numbers of finished files. `log` is called with messages about temporary
    files of killed processes.

    Raises:
        OSError: If a row or heatmap cannot be written.
        NotEnoughMemory: If the memory does not suffice for a batch or for the threads.
    """
    spec = predictor.spec
    origin = partial(provenance, predictor.path, spec)
    head, line = FORMATS[row_format](files, spec, min(top_k, len(spec.classes)), origin)
    predicted, decisions, failed, start = 0, dict.fromkeys(get_args(DecisionName), 0), 0, time.perf_counter()
    with (
        nullcontext(print_row) if output is None else row_file(output, log) as write,
        _heatmap_folder(heatmaps, files, spec, suspicious_only=suspicious_only, log=log) as drawing,
        ordered(write, sort) as put,
        progress as step,
    ):
        if head:
            write(head)
        watch = None if drawing is None else drawing.watch
        for record in predictor.predict_many(files, batch_size=batch_size, watch=watch):
            if isinstance(record, Failure):
                failed += 1
                put(record, line(record, None))
                if drawing is not None:
                    drawing.remove(record)
            else:
                predicted += 1
                if record.decision is not None:
                    decisions[record.decision] += 1
                if record.decision != "negative" or not suspicious_only:
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
def row_file(output: Path, log: Log) -> Iterator[Callable[[str], None]]:
    """Yields a function that writes a row to a file, which appears if the block ends without an error."""
    remove_leftovers([Path(os.path.realpath(output)).parent], log)
    with (
        made_folders(output.parent),
        atomic_file(output) as temporary,
        # File names with invalid UTF-8 are written escaped, as on stdout.
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        yield lambda row: print(row, file=file)


def _heatmap_folder(
    folder: Path | None, files: Sequence[str], spec: ModelSpec, *, suspicious_only: bool, log: Log
) -> AbstractContextManager["HeatmapFolder | None"]:
    if folder is None:
        return nullcontext()
    from ctonnx.prediction.output.heatmap_folder import HeatmapFolder  # 18 ms, for Pillow's fonts

    remove_leftovers((Path(inner) for inner, *_ in os.walk(folder)), log)
    return HeatmapFolder(folder, files, spec, suspicious_only=suspicious_only)
