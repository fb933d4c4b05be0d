"""A run's record and splits on the disk, in JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypeAlias, TypedDict

from ctonnx import schema
from ctonnx.errors import ModelError
from ctonnx.figures import Count, Leaked, Metrics, Share
from ctonnx.images import Preprocessing
from ctonnx.reading import read_text, reason_of
from ctonnx.runs import Run
from ctonnx.spec import OperatingPoint, check_meaning
from ctonnx.writing import write_text
from ctonnx_train.splits import Sample, Split

__all__ = ["RunRecord", "read_digests", "read_record", "read_samples", "write_splits"]

SCHEMA_VERSION = 1

_Interval: TypeAlias = Annotated[Sequence[Share], schema.Length(2)] | None
_ClassIntervals: TypeAlias = Mapping[str, _Interval]


class _Data(TypedDict, total=False):
    """`data`, as the export and `ctonnx evaluate` read it."""

    folder: Required[str]
    name: Required[str]
    fingerprint: Required[str]
    images: Mapping[Split, Mapping[str, Count]]
    leaks: Leaked


class _Intervals(TypedDict, total=False):
    accuracy: _Interval
    balanced_accuracy: _Interval
    macro: _ClassIntervals
    per_class: Mapping[str, _ClassIntervals]


class _Metrics(Metrics, total=False):
    """The figures of a split, with their intervals."""

    intervals: _Intervals


class _Settings(TypedDict, total=False):
    seed: Count


class _Macro(TypedDict):
    sensitivity: Share | None
    f1: Share | None
    auroc: Share | None


class _ClassFigures(TypedDict):
    images: Count
    sensitivity: Share | None
    specificity: Share | None
    auroc: Share | None


class _MacroIntervals(TypedDict):
    sensitivity: _Interval
    auroc: _Interval


class _IntervalsOfClass(_MacroIntervals):
    specificity: _Interval


class _ShownIntervals(TypedDict):
    accuracy: _Interval
    balanced_accuracy: _Interval
    macro: _MacroIntervals
    per_class: Mapping[str, _IntervalsOfClass]


class _ShownMetrics(TypedDict):
    images: Count
    accuracy: Share | None
    balanced_accuracy: Share | None
    macro: _Macro
    per_class: Mapping[str, _ClassFigures]
    intervals: NotRequired[_ShownIntervals]


class _ShownSplits(TypedDict):
    valid: _ShownMetrics
    test: NotRequired[_ShownMetrics]


class _ShownData(TypedDict):
    images: Mapping[Split, Mapping[str, Count]]


class _ShownSettings(TypedDict):
    seed: Count


class _Shown(TypedDict):
    data: _ShownData
    metrics: _ShownSplits
    settings: _ShownSettings


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
        weights_sha256: of the weights file that belongs to it; None in runs from before it was kept.
    """

    created: str
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    preprocessing: Preprocessing
    data: Annotated[Mapping[str, Any], schema.As(_Data)]
    synthetic: bool
    settings: Annotated[Mapping[str, Any], schema.As(_Settings)]
    training: Mapping[str, Any]
    metrics: Annotated[Mapping[str, Any], schema.As(Mapping[str, _Metrics])]
    versions: Mapping[str, str]
    temperature: float = 1.0
    operating_point: OperatingPoint | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        check_meaning(self.classes, self.temperature, self.operating_point)
        if others := set(self.folder_classes.values()) - set(self.classes):
            raise ValueError(
                f"expected class folders of the classes {list(self.classes)}, found them for {sorted(others)} too"
            )

    def to_json(self) -> str:
        """Returns the text of run.json."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Reads the text of run.json; fields of a later release are passed over.

        Raises:
            ValueError: the text is not a run's record.
        """
        values = schema.parse(text)
        if schema.read(_Versioned, values).schema_version > SCHEMA_VERSION:
            raise ValueError("the run was trained by a newer ctonnx")
        return schema.read(cls, values)

    def require_figures(self) -> None:
        """Raises an error where a figure is missing that an export's report and model card show.

        A run of the first releases lacks some, and can be evaluated all the same.

        Raises:
            ModelError: there is one.
        """
        values = asdict(self)
        shown = {
            name: values[name] for name in ("created", "classes", "data", "metrics", "settings", "operating_point")
        }
        try:
            schema.read(_Shown, shown)
            del shown["data"]["folder"]
            json.dumps(shown, ensure_ascii=False).encode()  # half a character is no part of a model file
            for split, of in self.metrics.items():
                named = [of["per_class"], *([of["intervals"]["per_class"]] if "intervals" in of else [])]
                if any(set(names) != set(self.classes) for names in named):
                    raise ValueError(f"expected figures of each class at 'metrics.{split}', found those of others")
        except ValueError as error:
            raise ModelError(f"the run's run.json does not have what an export shows ({error}); train again") from error


@dataclass(frozen=True)
class _Versioned:
    schema_version: int


def read_record(run: Run) -> RunRecord:
    """Reads a run's run.json.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        return RunRecord.from_json(read_text(run.record_file))
    except (OSError, ValueError) as error:
        raise _damaged("a run's record", run.record_file, error) from error


def _damaged(what: str, file: Path, error: OSError | ValueError) -> ModelError:
    found = reason_of(error) if isinstance(error, OSError) else f"something else ({error})"
    return ModelError(f"expected {what} in '{file}', found {found}; train again")


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


def _rows(run: Run, split: Split) -> list[Any]:
    try:
        rows = schema.load(dict[str, list[Any]], run.splits_file).get(split)
        if rows is None:
            raise ValueError(f"expected a list at '{split}', found nothing")
        if wrong := [row for row in rows if not _is_row(row)]:
            raise ValueError(f"expected rows of a path, a class and a digest, found {str(wrong[0])[:60]}")
    except (OSError, ValueError) as error:
        raise _damaged("the run's splits", run.splits_file, error) from error
    return rows


def _is_row(row: Any) -> bool:
    """Says whether a row has a path, a class and, but for runs of the first release, a digest."""
    if not isinstance(row, list) or [type(item) for item in row] not in ([str, int], [str, int, str]):
        return False
    return row[1] >= 0 and "\0" not in row[0]
