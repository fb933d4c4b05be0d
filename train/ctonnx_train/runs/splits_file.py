"""A run's splits.json: the images of each split."""

import json
from collections.abc import Mapping
from typing import Any

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.run import Run
from ctonnx.system.files import write_text
from ctonnx_train.data.splits import Sample, Split, Splits
from ctonnx_train.runs.record import damaged_file_error

__all__ = ["read_digests", "read_patients", "read_samples", "write_splits"]


def write_splits(
    run: Run, splits: Splits, digests: Mapping[str, str], patients: Mapping[str, str] | None = None
) -> None:
    """Writes a run's splits.json: path, label and `pixel_digest` of each image, by split.

    If patients are known, each row ends with the image's patient, a pseudonym or a part of its path; it may be empty.
    """

    def row(sample: Sample) -> list[Any]:
        return [*sample, digests[sample.path], *([] if patients is None else [patients.get(sample.path, "")])]

    rows = {split: [row(sample) for sample in samples] for split, samples in splits.items()}
    write_text(run.splits_file, json.dumps(rows, indent=0) + "\n")


def read_samples(run: Run, split: Split) -> tuple[Sample, ...]:
    """Returns the images of a split, in the order of splits.json; raises ModelError if it is missing or damaged."""
    return tuple(Sample(path, label) for path, label, *_ in _rows(run, split))


def read_digests(run: Run, split: Split) -> dict[str, str]:
    """Returns the digest of each image of a split by path, as `read_samples` does."""
    return {row[0]: row[2] for row in _rows(run, split) if len(row) > 2}


def read_patients(run: Run, split: Split) -> dict[str, str]:
    """Returns the patient of each image of a split by path, as `read_samples` does; without images of unknown ones."""
    return {row[0]: row[3] for row in _rows(run, split) if len(row) > 3 and row[3]}


def _rows(run: Run, split: Split) -> list[Any]:
    try:
        rows = json_schema.load(dict[str, list[Any]], run.splits_file).get(split)
        if rows is None:
            raise ValueError(f"expected a list at '{split}', found nothing")
        if wrong := [row for row in rows if not _is_row(row)]:
            raise ValueError(f"expected rows of a path, a class and a digest, found {str(wrong[0])[:60]}")
    except (OSError, ValueError) as error:
        raise damaged_file_error("the run's splits", run.splits_file, error) from error
    return rows


def _is_row(row: Any) -> bool:
    """Returns whether a row has a path, a class and, except in runs of the first release, a digest.

    A patient follows if the run knew any.
    """
    kinds = [str, int, str, str]
    if not isinstance(row, list) or len(row) < 2 or [type(item) for item in row] != kinds[: len(row)]:
        return False
    return row[1] >= 0 and "\0" not in row[0]
