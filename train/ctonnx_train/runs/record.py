"""The record of a run: run.json and its schema."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypeAlias, TypedDict

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.usage import UsageReference
from ctonnx.artifacts.report_schema import Count, Leaked, Metrics, Share, Shortcuts, TrainingPatients
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import validate_outputs
from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx.system.file_reading import read_text, reason_of
from ctonnx_train.data.splits import Split

__all__ = ["SCHEMA_VERSION", "RunRecord", "damaged_file_error", "read_record"]

SCHEMA_VERSION = 2

_Interval: TypeAlias = Annotated[Sequence[Share], json_schema.Length(2)] | None
_NamedIntervals: TypeAlias = Mapping[str, _Interval]


class _Data(TypedDict, total=False):
    """`data`, as read by the export and by `ctonnx evaluate`."""

    folder: Required[str]
    name: Required[str]
    fingerprint: Required[str]
    images: Mapping[Split, Mapping[str, Count]]
    leaks: Leaked
    labels: str | None
    patients: TrainingPatients | None
    folds: Count


class _Parent(TypedDict, total=False):
    """`parent`, as shown in the reports of the export."""

    name: Required[str]
    weights_sha256: Required[str]
    operations: Required[Share]


class _Intervals(TypedDict, total=False):
    accuracy: _Interval
    balanced_accuracy: _Interval
    macro: _NamedIntervals
    per_class: Mapping[str, _NamedIntervals]


class _Metrics(Metrics, total=False):
    """Metrics of a split, with their confidence intervals."""

    intervals: _Intervals


class _Settings(TypedDict, total=False):
    seed: Count


class _Macro(TypedDict):
    sensitivity: Share | None
    f1: Share | None
    auroc: Share | None


class _ClassMetrics(TypedDict):
    images: Count
    sensitivity: Share | None
    specificity: Share | None
    auroc: Share | None


class _MacroIntervals(TypedDict):
    sensitivity: _Interval
    auroc: _Interval


class _ClassIntervals(_MacroIntervals):
    specificity: _Interval


class _ReportIntervals(TypedDict):
    accuracy: _Interval
    balanced_accuracy: _Interval
    macro: _MacroIntervals
    per_class: Mapping[str, _ClassIntervals]


class _ReportMetrics(TypedDict):
    images: Count
    accuracy: Share | None
    balanced_accuracy: Share | None
    macro: _Macro
    per_class: Mapping[str, _ClassMetrics]
    intervals: NotRequired[_ReportIntervals]


class _ReportSplits(TypedDict):
    valid: _ReportMetrics
    test: NotRequired[_ReportMetrics]


class _ReportData(TypedDict):
    images: Mapping[Split, Mapping[str, Count]]


class _ReportSettings(TypedDict):
    seed: Count


class _Report(TypedDict):
    data: _ReportData
    metrics: _ReportSplits
    settings: _ReportSettings


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Content of run.json.

    Attributes:
        created: End of the training, ISO 8601 in UTC.
        classes: Class names, in the order of the logits.
        data: `folder` (absolute; or a file), `name`, `fingerprint`, `images` for each split and class, and `leaks`:
            the copies found, as `ctonnx_train.data.leakage.Leaks`; `labels`, the name of the labels file, and
            `patients`, their source and number, each None without.
        training: Epochs run, best epoch, its validation loss, precision, device and seconds.
        metrics: Metrics on `valid` and, if the dataset has it, on `test`.
        ensemble_metrics: Metrics of the mean of the folds' networks on `test`; None without folds or test images.
        temperature: Divisor of the logits before the softmax.
        operating_point: Threshold for suspicious images; None if none could be fitted.
        prediction_sets: Classes that an image may have; None if none could be fitted, and in runs of schema 1.
        patient_rule: Decision about a patient from the scores of its slices; None if the patients are unknown or no
            operating point could be fitted on them.
        novelty: Threshold of the novelty, whose distance is in novelty.safetensors; None as for `prediction_sets`.
        brightness: Mean grey values of the training images; None as for `prediction_sets`.
        shortcuts: Facts of the training images, such as their size, that distinguish their classes.
        acquisition: Medians of the training images' facts, such as size and brightness, to compare other images with.
        usage: Counts of the validation images, for `ctonnx drift`; None in runs of earlier releases.
        weights_sha256: SHA-256 of the weight file; None in runs of the first releases.
        novelty_sha256: SHA-256 of novelty.safetensors; None without `novelty`.
        parent: The run that `ctonnx compress` made this one from: `name`, `weights_sha256`, `operations` (share of its
            multiplications that is left) and `comparison`; None in all other runs.
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
    ensemble_metrics: Annotated[Mapping[str, Any] | None, json_schema.As(Mapping[str, _Metrics] | None)] = None
    temperature: float = 1.0
    operating_point: OperatingPoint | None = None
    prediction_sets: PredictionSets | None = None
    patient_rule: PatientRule | None = None
    novelty: Novelty | None = None
    brightness: BrightnessRange | None = None
    shortcuts: Annotated[Mapping[str, Any] | None, json_schema.As(Shortcuts | None)] = None
    acquisition: Mapping[str, Any] | None = None
    usage: UsageReference | None = None
    weights_sha256: str | None = None
    novelty_sha256: str | None = None
    parent: Annotated[Mapping[str, Any] | None, json_schema.As(_Parent | None)] = None

    def __post_init__(self) -> None:
        validate_outputs(self.classes, self.temperature, self.operating_point, self.prediction_sets)
        if self.patient_rule is not None:
            self.patient_rule.validate(self.classes)
        if others := set(self.folder_classes.values()) - set(self.classes):
            raise ValueError(
                f"expected class folders of the classes {list(self.classes)}, found them for {sorted(others)} too"
            )

    def to_json(self) -> str:
        """Returns the content of run.json."""
        values = {"schema_version": SCHEMA_VERSION, **json_schema.fields_of(self)}
        return json.dumps(values, indent=2, default=json_schema.fields_of) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Reads the content of run.json, or raises ValueError; fields of later releases are ignored."""
        values = json_schema.parse(text)
        if json_schema.read(_Versioned, values).schema_version > SCHEMA_VERSION:
            raise ValueError("the run was trained by a newer ctonnx")
        return json_schema.read(cls, values)

    def require_metrics(self) -> None:
        """Raises ModelError if a value that the export's report and model card show is missing or damaged.

        Runs of the first releases lack some, and can still be evaluated.
        """
        fields = ("created", "classes", "data", "metrics", "settings", "operating_point", "shortcuts", "acquisition")
        shown = {name: getattr(self, name) for name in fields}
        shown["operating_point"] = self.operating_point and asdict(self.operating_point)
        try:
            json_schema.read(_Report, shown)
            shown["data"] = {name: value for name, value in self.data.items() if name != "folder"}
            json.dumps(shown, ensure_ascii=False).encode()  # surrogates cannot be stored in a model file
            for split, values in self.metrics.items():
                tables = [values["per_class"], *([values["intervals"]["per_class"]] if "intervals" in values else [])]
                if any(set(table) != set(self.classes) for table in tables):
                    raise ValueError(f"expected metrics of each class at 'metrics.{split}', found other classes")
        except ValueError as error:
            raise ModelError(f"the run's run.json lacks values that an export shows ({error}); train again") from error


@dataclass(frozen=True)
class _Versioned:
    schema_version: int


def read_record(run: Run) -> RunRecord:
    """Reads a run's run.json; raises ModelError if it is missing or damaged."""
    try:
        return RunRecord.from_json(read_text(run.record_file))
    except (OSError, ValueError) as error:
        raise damaged_file_error("a run's record", run.record_file, error) from error


def damaged_file_error(what: str, file: Path, error: OSError | ValueError) -> ModelError:
    """Returns the error for a file of a run that is missing or damaged."""
    found = reason_of(error) if isinstance(error, OSError) else f"something else ({error})"
    return ModelError(f"expected {what} in '{file}', found {found}; train again")
