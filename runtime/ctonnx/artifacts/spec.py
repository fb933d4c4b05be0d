"""What an exported model says about itself: one JSON text in the `.onnx` file's metadata.

A program needs nothing but the file: the spec names the classes in order, says how pixels are made, and carries the
figures that the model was shipped on. `docs/reference/model-file.md` describes each field for readers in other
languages.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, get_args

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.artifacts.report_schema import Data, GateBounds, Metrics, QuantizationFacts
from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import DicomWindow

__all__ = [
    "PRECISIONS",
    "SCHEMA_VERSION",
    "TARGETS",
    "ModelSpec",
    "Precision",
    "Target",
    "check_meaning",
    "describe_leakage",
]


SCHEMA_VERSION = 1
"""Raised when a reader of the old version could misuse a new file; added fields alone do not raise it."""

_ROUNDING = 1e-5  # float32 probabilities may sum to somewhat more than 1


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """All that a runtime must know of a model besides its graph.

    Attributes:
        name: The training run's name.
        classes: Class names, in the order of the outputs' class axis.
        preprocessing: how a file becomes the input's pixels.
        precision: `fp32`, `fp16` or `int8`.
        created: When the run was trained, ISO 8601 in UTC.
        checkpoint_sha256: SHA-256 of the PyTorch weights that the model was exported from.
        data: what it was trained on: the folder's name, its fingerprint, and how many images each split held.
        synthetic: Whether the training images were generated phantoms.
        metrics: PyTorch's figures on the validation and test images.
        parity: how far this file's answers lie from PyTorch's, from `Parity.as_dict`.
        gate: The bounds that they had to keep, from `ctonnx.parity.gates.Gate`; None in files made before this was
            kept.
        versions: of ctonnx and of the libraries that made the file.
        temperature: what the logits are divided by before the softmax (Guo et al. 2017,
            https://arxiv.org/abs/1706.04599); the graph does it.
        dicom_window: The window for DICOM files.
        quantization: The quantization scheme, or None for a model in floating point.
        operating_point: None where the run fitted none.
        content_checksum: Checksum of the file without its metadata, from
            `ctonnx.artifacts.onnx_file.integrity.content_checksum`; None in files made before it was kept.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    precision: Annotated[str, json_schema.As(Literal["fp32", "fp16", "int8"])]
    created: str
    checkpoint_sha256: str
    data: Annotated[Mapping[str, Any], json_schema.As(Data)]
    synthetic: bool
    metrics: Annotated[Mapping[str, Any], json_schema.As(Mapping[str, Metrics])]
    parity: Mapping[str, Any]
    versions: Mapping[str, str]
    gate: Annotated[Mapping[str, Any] | None, json_schema.As(GateBounds | None)] = None
    temperature: float = 1.0
    dicom_window: DicomWindow = field(default_factory=DicomWindow)
    quantization: Annotated[Mapping[str, Any] | None, json_schema.As(QuantizationFacts | None)] = None
    operating_point: OperatingPoint | None = None
    content_checksum: str | None = None

    def __post_init__(self) -> None:
        check_meaning(self.classes, self.temperature, self.operating_point)
        if not (0 < self.dicom_window.width < math.inf and math.isfinite(self.dicom_window.center)):
            raise ValueError(f"expected a DICOM window with a width above 0, found {asdict(self.dicom_window)}")

    def to_json(self) -> str:
        """Returns the JSON text that `from_json` reads; the same spec always gives the same text."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Reads what `to_json` wrote; fields of a later release that this one does not know are passed over.

        Raises:
            ModelError: The text is not a spec, or its schema is newer than this release can read.
        """
        try:
            values = json_schema.parse(text)
            version = json_schema.read(_Versioned, values).schema_version
            if version <= SCHEMA_VERSION:
                spec = json_schema.read(cls, values)
                spec.to_json().encode()  # half a character, as "\ud800" says, could not be shown anywhere
                return spec
        except ValueError as error:
            raise ModelError(f"the model's spec cannot be read ({error}); export the model again") from error
        raise ModelError(
            f"expected a spec of schema {SCHEMA_VERSION} or older, found schema {version}: "
            "the model was made by a newer ctonnx; upgrade this one"
        )


@dataclass(frozen=True)
class _Versioned:
    schema_version: int


def check_meaning(classes: Sequence[str], temperature: float, point: OperatingPoint | None) -> None:
    """Raises an error where a model's answers could have no meaning.

    Args:
        classes: Its classes.
        temperature: that its logits are divided by.
        point: where an image is suspicious.

    Raises:
        ValueError: A value lies outside of its range, or the operating point names other classes, one twice, or all.
    """
    if len(classes) < 2 or len(set(classes)) != len(classes) or not all(classes):
        raise ValueError(f"expected two or more different classes, found {json_schema.shown(classes)}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"expected a temperature above 0, found {temperature!r}")
    if point is None:
        return
    positive = set(point.positive)
    # A class named twice would count twice in the score, and a score of all classes is always 1.
    if not positive or len(positive) < len(point.positive) or not positive < set(classes):
        raise ValueError(
            f"expected positive classes, each once and not all, of {json_schema.shown(classes)}, found "
            f"{json_schema.shown(point.positive)}"
        )
    if not math.isfinite(point.threshold):
        raise ValueError(f"expected a threshold that is a number, found {point.threshold!r}")
    shares = {"threshold": point.threshold, "sensitivity": point.sensitivity, "specificity": point.specificity}
    if point.target_sensitivity is not None:
        shares["target_sensitivity"] = point.target_sensitivity
    for name, value in shares.items():
        if not 0 <= value <= 1 + _ROUNDING:
            raise ValueError(f"expected a {name} from 0 to 1, found {value!r}")
    for name, interval in (
        ("sensitivity_interval", point.sensitivity_interval),
        ("specificity_interval", point.specificity_interval),
    ):
        if interval is not None and not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError(f"expected a {name} from low to high, 0 to 1, found {list(interval)}")
    if point.gap is not None and not 0 <= point.gap[0] <= point.gap[1] <= 1 + _ROUNDING:
        raise ValueError(f"expected a gap from low to high, 0 to 1, found {list(point.gap)}")


_SPLITS = {"valid": "validation", "test": "test"}


def describe_leakage(data: Mapping[str, Any]) -> str | None:
    """Returns how many images leaked from an earlier split, or None where none did or nothing is known.

    Args:
        data: of the model's spec.

    >>> describe_leakage({"images": {"valid": {"normal": 40, "tumor": 32}}, "leaks": {"leaked": {"valid": 10}}})
    '10 of 72 validation images have a copy, or an image of their group, in an earlier split: figures on them flatter'
    """
    leaks = data.get("leaks") or {}
    leaked, dropped = leaks.get("leaked", {}), leaks.get("dropped", {})
    counted = []
    for split, name in _SPLITS.items():
        if count := leaked.get(split):
            images = sum(data.get("images", {}).get(split, {}).values()) + dropped.get(split, 0)
            counted.append(f"{count} of {images} {name} images")
    if not counted:
        return None
    verb, end = ("had", "they were left out") if any(dropped.values()) else ("have", "figures on them flatter")
    return f"{' and '.join(counted)} {verb} a copy, or an image of their group, in an earlier split: {end}"


Precision: TypeAlias = Literal["fp32", "fp16", "int8"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Of exported models. FP32 is always made: the others are made from it and compared with it."""

Target: TypeAlias = Literal["x86", "amx", "arm", "tensorrt"]

TARGETS: tuple[Target, ...] = get_args(Target)
"""Where an INT8 model is to run. `amx` is x86 processors with AMX."""
