"""A run's record and splits on the disk, in JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx.runs import Run
from ctonnx.spec import OperatingPoint
from ctonnx.writing import write_text
from ctonnx_train.splits import Sample, Split

__all__ = ["RunRecord", "read_digests", "read_record", "read_samples", "write_splits"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What run.json holds.

    Attributes:
        created: when the training ended, ISO 8601 in UTC.
        classes: class names, in the order of the logits.
        folder_classes: for each class folder's name, the canonical name that it was given.
        preprocessing: how a file becomes the network's pixels.
        data: `folder` (absolute; or a file), `name`, `fingerprint`, `images` for each split and class, and `leaks`:
            the copies that were found, as `ctonnx_train.duplicates.Leaks`.
        synthetic: whether the images are generated phantoms.
        settings: what was chosen for the training.
        training: what came of it: epochs run, the best one, its validation loss, precision, device, seconds.
        metrics: figures on `valid` and, where there is one, on `test`.
        versions: of ctonnx and the libraries.
        temperature: what the logits are divided by before the softmax.
        operating_point: where an image is suspicious; None where none could be fitted.
    """

    created: str
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    preprocessing: Preprocessing
    data: Mapping[str, Any]
    synthetic: bool
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    versions: Mapping[str, str]
    temperature: float = 1.0
    operating_point: OperatingPoint | None = None

    def to_json(self) -> str:
        """Returns the text of run.json."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Reads the text of run.json; fields of a later release are passed over.

        Raises:
            AttributeError, ValueError, KeyError, TypeError: the text is not a run's record.
        """
        values = dict(json.loads(text))
        if values.pop("schema_version") > SCHEMA_VERSION:
            raise ValueError("the run was trained by a newer ctonnx")
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in values.items() if name in known}
        values["classes"] = tuple(values["classes"])
        values["preprocessing"] = Preprocessing(**values["preprocessing"])
        if values.get("operating_point") is not None:
            values["operating_point"] = OperatingPoint.from_dict(values["operating_point"])
        return cls(**values)


def read_record(run: Run) -> RunRecord:
    """Reads a run's run.json.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        return RunRecord.from_json(run.record_file.read_text(encoding="utf-8"))
    except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"expected a run's record in '{run.record_file}', found {error!r}; train again") from error


def write_splits(run: Run, splits: Mapping[Split, tuple[Sample, ...]], digests: Mapping[str, str]) -> None:
    """Writes a run's splits.json: for each split the images' paths, labels and digests.

    Args:
        run: its folder.
        splits: which image stood in which split.
        digests: `ctonnx_train.pixels.pixel_digest` of each image, by path.
    """
    rows = {split: [[*sample, digests[sample.path]] for sample in samples] for split, samples in splits.items()}
    write_text(run.splits_file, json.dumps(rows, indent=0) + "\n")


def read_samples(run: Run, split: Split) -> tuple[Sample, ...]:
    """Returns the images of a split, as splits.json keeps them.

    Raises:
        ModelError: splits.json is missing or damaged.
    """
    return tuple(Sample(path, label) for path, label, *_ in _rows(run, split))


def read_digests(run: Run, split: Split) -> dict[str, str]:
    """Returns the digest of each of a split's images, by its path: the images are known by it under any name.

    Raises:
        ModelError: splits.json is missing or damaged.
    """
    return {row[0]: row[2] for row in _rows(run, split) if len(row) > 2}


def _rows(run: Run, split: Split) -> list[list[Any]]:
    try:
        rows: list[list[Any]] = json.loads(run.splits_file.read_text(encoding="utf-8"))[split]
        if not all(len(row) >= 2 for row in rows):
            raise ValueError("a row is too short")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"expected the run's splits in '{run.splits_file}', found {error!r}; train again") from error
    return rows
