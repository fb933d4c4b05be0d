"""The spec of a model: one JSON text in the metadata of the `.onnx` file.

A program needs nothing but the file: the spec has the classes in their order, the preprocessing, and the metrics that
the model was exported with. `docs/reference/model-file.md` describes each field for readers in other languages.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.usage import UsageReference
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY, read_metadata
from ctonnx.artifacts.report_schema import Data, GateBounds, Metrics, Precision, QuantizationFacts, Shortcuts
from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import DicomWindow

__all__ = [
    "SCHEMA_VERSION",
    "VALIDATION_IMAGES",
    "ModelSpec",
    "describe_history",
    "describe_leakage",
    "fitted_on",
    "patients_of",
    "validate_outputs",
]

SCHEMA_VERSION = 2
"""Increased when a reader of the old version could misuse a new file; added fields alone do not increase it."""

VALIDATION_IMAGES = "validation images"
"""Name of the images that a run fits its temperature and thresholds on."""

_SPLITS = {"valid": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything that a runtime must know about a model in addition to its graph.

    Attributes:
        name: Name of the training run.
        classes: Class names, in the order of the outputs' class axis.
        preprocessing: Conversion of an image file to the pixels of the input.
        precision: `fp32`, `fp16` or `int8`.
        created: Time of the training, ISO 8601 in UTC.
        checkpoint_sha256: SHA-256 of the PyTorch weights that the model was exported from.
        data: Training data: the folder's name, its fingerprint, and the number of images of each split.
        synthetic: Whether the training images were generated phantoms.
        metrics: PyTorch's metrics on the validation and test images.
        parity: Comparison of this file's outputs with PyTorch's, from `Parity.as_dict`.
        gate: Bounds of that comparison, from `ctonnx.parity.acceptance_gates.Gate`; None in files of earlier releases.
        versions: Versions of ctonnx and of the libraries that exported the file.
        networks: Number of networks whose probabilities' mean are the model's.
        temperature: The graph's divisor of the logits (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
        dicom_window: Window for DICOM files.
        quantization: Quantization scheme, or None for a floating-point model.
        operating_point: Threshold of a suspicious image; None if the run fitted none.
        prediction_sets: Classes that an image may have; None if the run fitted none, and in files of schema 1.
        novelty: Threshold of the graph's output `novelty`; None if it has no such output, as in files of schema 1.
        patient_rule: Decision about a patient from the scores of its slices; None if the run knew no patients.
        brightness: Mean grey values of the images that it was fitted on; None if unknown, and in files of schema 1.
        shortcuts: Facts of the training images, such as their size, that distinguish their classes; None if unknown.
        acquisition: Medians of the training images' facts, such as size and brightness, to compare other images with;
            see `ctonnx_train.audit.facts.acquisition`.
        usage: Counts of the images that its values were fitted on, for `ctonnx drift`; None if unknown.
        history: Earlier fits of this file's values, the oldest first: one entry for each `ctonnx recalibrate`.
        content_checksum: Checksum of the file without its metadata; None in files of earlier releases.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    precision: Precision
    created: str
    checkpoint_sha256: str
    data: Annotated[Mapping[str, Any], json_schema.As(Data)]
    synthetic: bool
    metrics: Annotated[Mapping[str, Any], json_schema.As(Mapping[str, Metrics])]
    parity: Mapping[str, Any]
    versions: Mapping[str, str]
    gate: Annotated[Mapping[str, Any] | None, json_schema.As(GateBounds | None)] = None
    networks: Annotated[int, json_schema.Between(1)] = 1
    temperature: float = 1.0
    dicom_window: DicomWindow = field(default_factory=DicomWindow)
    quantization: Annotated[Mapping[str, Any] | None, json_schema.As(QuantizationFacts | None)] = None
    operating_point: OperatingPoint | None = None
    prediction_sets: PredictionSets | None = None
    novelty: Novelty | None = None
    patient_rule: PatientRule | None = None
    brightness: BrightnessRange | None = None
    shortcuts: Annotated[Mapping[str, Any] | None, json_schema.As(Shortcuts | None)] = None
    acquisition: Mapping[str, Any] | None = None
    usage: UsageReference | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    content_checksum: str | None = None

    def __post_init__(self) -> None:
        validate_outputs(self.classes, self.temperature, self.operating_point, self.prediction_sets)
        if self.patient_rule is not None:
            self.patient_rule.validate(self.classes)
        if not (0 < self.dicom_window.width < math.inf and math.isfinite(self.dicom_window.center)):
            raise ValueError(f"expected a DICOM window with a width above 0, found {asdict(self.dicom_window)}")

    def to_json(self) -> str:
        """Returns the JSON text that `from_json` reads; the same spec always gives the same text."""
        values = {"schema_version": SCHEMA_VERSION, **json_schema.fields_of(self)}
        return json.dumps(values, sort_keys=True, ensure_ascii=False, default=json_schema.fields_of)

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Reads a spec from its JSON text. Unknown fields, such as those of a later release, are ignored.

        Raises:
            ModelError: If the text is not a spec, or its schema is newer than `SCHEMA_VERSION`.
        """
        try:
            values = json_schema.parse(text)
            version = json_schema.read(_Versioned, values).schema_version
            if version <= SCHEMA_VERSION:
                spec = json_schema.read(cls, values)
                spec.to_json().encode()  # a lone surrogate such as "\ud800" could not be printed
                return spec
        except ValueError as error:
            raise ModelError(f"the model's spec cannot be read ({error}); export the model again") from error
        raise ModelError(
            f"expected a spec of schema {SCHEMA_VERSION} or older, found schema {version}: "
            "the model was made by a newer ctonnx; upgrade this one"
        )

    @classmethod
    def of_file(cls, model: Path) -> "ModelSpec":
        """Reads the spec of a model file, without onnxruntime and without its weights.

        Raises:
            ModelError: If the file is not an ONNX model, or has no valid spec.
            OSError: If the file cannot be read.
        """
        try:
            text = read_metadata(model).get(METADATA_KEY)
        except ValueError as error:
            raise ModelError(f"'{model}' is not a whole ONNX model ({error}); export it again") from error
        if text is None:
            raise ModelError(
                f"'{model}' is an ONNX model without a ctonnx spec, so its classes and its preprocessing are unknown; "
                "make one with: ctonnx export RUN"
            )
        return cls.from_json(text)


@dataclass(frozen=True)
class _Versioned:
    schema_version: int


def validate_outputs(
    classes: Sequence[str],
    temperature: float,
    point: OperatingPoint | None,
    sets: PredictionSets | None = None,
) -> None:
    """Raises an error if a model's outputs could not be interpreted.

    Raises:
        ValueError: If a value is out of range, the classes are not unique, or the operating point or the
            prediction sets do not fit them.
    """
    if len(classes) < 2 or len(set(classes)) != len(classes) or not all(classes):
        raise ValueError(f"expected two or more different classes, found {json_schema.shown(classes)}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"expected a temperature above 0, found {temperature!r}")
    if point is not None:
        point.validate(classes)
    if sets is not None:
        sets.validate(classes)


def describe_leakage(data: Mapping[str, Any]) -> str | None:
    """Returns a sentence with the number of images of `ModelSpec.data` that leaked from an earlier split, or None.

    >>> describe_leakage({"images": {"valid": {"normal": 40, "tumor": 32}}, "leaks": {"leaked": {"valid": 10}}})
    '10 of 72 validation images have a copy, or an image of their group, in an earlier split: metrics on them are \
optimistic'
    """
    leaks = data.get("leaks") or {}
    leaked, dropped = leaks.get("leaked", {}), leaks.get("dropped", {})
    parts = []
    for split, name in _SPLITS.items():
        if count := leaked.get(split):
            images = sum(data.get("images", {}).get(split, {}).values()) + dropped.get(split, 0)
            parts.append(f"{count} of {images} {name} images")
    if not parts:
        return None
    verb, end = ("had", "they were left out") if any(dropped.values()) else ("have", "metrics on them are optimistic")
    return f"{' and '.join(parts)} {verb} a copy, or an image of their group, in an earlier split: {end}"


def fitted_on(history: Sequence[Mapping[str, Any]]) -> str:
    """Returns the name of the images that a model's temperature and thresholds were fitted on, without an article.

    These are the validation images of its run, or the scans of the last recalibration in `ModelSpec.history`.

    >>> fitted_on([]), fitted_on([{"data": {"name": "site", "images": {"a": 20, "b": 30}}}])
    ('validation images', "scans of 'site'")
    """
    if not history:
        return VALIDATION_IMAGES
    name = _part(history[-1], "data").get("name")
    return f"scans of '{name}'" if isinstance(name, str) else "scans of a site"


def patients_of(images: str) -> str:
    """Returns the name of the patients of the images with the name from `fitted_on`.

    >>> patients_of(fitted_on([])), patients_of("scans of 'site'")
    ('validation patients', "patients of the scans of 'site'")
    """
    return "validation patients" if images == VALIDATION_IMAGES else f"patients of the {images}"


def describe_history(spec: ModelSpec) -> list[str]:
    """Returns a sentence for each entry of `ModelSpec.history`, the oldest first: when, on what, and what changed."""
    fitted = ("operating_point", "prediction_sets", "novelty", "brightness", "patient_rule")
    parts = {name: getattr(spec, name) for name in fitted}
    now = {"temperature": spec.temperature, **{name: part and asdict(part) for name, part in parts.items()}}
    states = [*(_part(entry, "earlier") for entry in spec.history), now]
    found = []
    # A spec may come from an unknown source: what is missing is left out.
    for entry, before, after in zip(spec.history, states, states[1:], strict=False):
        counts = [count for count in _part(_part(entry, "data"), "images").values() if isinstance(count, int)]
        scans = f"{sum(counts)} {fitted_on([entry])}" if counts else fitted_on([entry])
        date = f", {entry['date'][:10]}" if isinstance(entry.get("date"), str) else ""
        changes = []
        for label, *path in _FITTED_NUMBERS:
            old, new = (_number(values, path) for values in (before, after))
            if old is not None and new is not None and old != new:
                changes.append(f"{label} from {old:.4g} to {new:.4g}")
        if _part(_part(before, "prediction_sets"), "lowest") != _part(_part(after, "prediction_sets"), "lowest"):
            changes.append("other prediction sets")
        found.append(f"recalibrated on {scans}{date}{': ' + ', '.join(changes) if changes else ''}")
    return found


_FITTED_NUMBERS = (
    ("temperature", "temperature"),
    ("operating point", "operating_point", "threshold"),
    ("operating point of patients", "patient_rule", "operating_point", "threshold"),
    ("novelty threshold", "novelty", "threshold"),
    ("low end of the mean grey", "brightness", "low"),
    ("high end of the mean grey", "brightness", "high"),
)


def _part(values: Any, name: str) -> Mapping[str, Any]:
    part = values.get(name) if isinstance(values, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _number(values: Mapping[str, Any], path: Sequence[str]) -> float | None:
    *parts, name = path
    for part in parts:
        values = _part(values, part)
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
