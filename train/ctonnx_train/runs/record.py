"""A run's record and splits on the disk, in JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypeAlias, TypedDict

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.artifacts.report_schema import Count, Leaked, Metrics, Share
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import validate_outputs
from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx.system.file_reading import read_text, reason_of
from ctonnx_train.data.splits import Split

__all__ = ["SCHEMA_VERSION", "RunRecord", "read_record"]


SCHEMA_VERSION = 1

_Interval: TypeAlias = Annotated[Sequence[Share], json_schema.Length(2)] | None
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
        created: When the training ended, ISO 8601 in UTC.
        classes: Class names, in the order of the logits.
        folder_classes: for each class folder's name, the canonical name that it was given.
        preprocessing: how a file becomes the network's pixels.
        data: `folder` (absolute; or a file), `name`, `fingerprint`, `images` for each split and class, and `leaks`:
            the copies that were found, as `ctonnx_train.data.leakage.Leaks`.
        synthetic: Whether the images are generated phantoms.
        settings: what was chosen for the training.
        training: what came of it: epochs run, the best one, its validation loss, precision, device, seconds.
        metrics: Figures on `valid` and, where there is one, on `test`.
        versions: of ctonnx and the libraries.
        temperature: what the logits are divided by before the softmax.
        operating_point: where an image is suspicious; None where none could be fitted.
        weights_sha256: of the weights file that belongs to it; None in runs from before it was kept.
    """

    created: str
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    preprocessing: Preprocessing
    data: Annotated[Mapping[str, Any], json_schema.As(_Data)]
    synthetic: bool
    settings: Annotated[Mapping[str, Any], json_schema.As(_Settings)]
    training: Mapping[str, Any]
    metrics: Annotated[Mapping[str, Any], json_schema.As(Mapping[str, _Metrics])]
    versions: Mapping[str, str]
    temperature: float = 1.0
    operating_point: OperatingPoint | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        validate_outputs(self.classes, self.temperature, self.operating_point)
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
            ValueError: The text is not a run's record.
        """
        values = json_schema.parse(text)
        if json_schema.read(_Versioned, values).schema_version > SCHEMA_VERSION:
            raise ValueError("the run was trained by a newer ctonnx")
        return json_schema.read(cls, values)

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
            json_schema.read(_Shown, shown)
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
