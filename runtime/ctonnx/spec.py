"""What an exported model says about itself: one JSON text in the `.onnx` file's metadata.

A program needs nothing but the file: the spec names the classes in order, says how pixels are made, and carries the
figures that the model was shipped on. `docs/reference/model-file.md` describes each field for readers in other
languages.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ctonnx import schema
from ctonnx.errors import ModelError
from ctonnx.figures import Data, GateBounds, Metrics, QuantizationFacts
from ctonnx.images import Preprocessing

__all__ = [
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "DicomWindow",
    "ModelSpec",
    "OperatingPoint",
    "check_meaning",
    "suspicion",
]

METADATA_KEY = "ctonnx.spec"
"""The key of the spec in the ONNX model's `metadata_props`."""

SCHEMA_VERSION = 1
"""Raised when a reader of the old version could misuse a new file; added fields alone do not raise it."""

_ROUNDING = 1e-5  # float32 probabilities may sum to somewhat more than 1


@dataclass(frozen=True, kw_only=True)
class DicomWindow:
    """The range of Hounsfield units that becomes black to white when the model is given DICOM files.

    Attributes:
        center: middle of the range, in HU.
        width: extent of the range, in HU.
    """

    center: float = -600.0
    width: float = 1500.0


def suspicion(
    probabilities: NDArray[np.floating[Any]], classes: Sequence[str], positive: Sequence[str]
) -> NDArray[np.float64]:
    """Returns the sum of the positive classes' probabilities for each image: float64 [images], 0 to 1.

    Args:
        probabilities: [images, classes]; taken as float32, which exported models give.
        classes: names of its columns.
        positive: those that count as suspicious.
    """
    columns = [classes.index(name) for name in positive]
    sums: NDArray[np.float64] = probabilities[:, columns].astype(np.float32).sum(axis=1, dtype=np.float64)
    return sums


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Where the model calls an image suspicious.

    Attributes:
        positive: names of the classes that count as suspicious.
        threshold: smallest sum of their probabilities that is called suspicious.
        sensitivity: measured at the threshold on the validation images that it was fitted on, 0 to 1.
        specificity: measured there too, 0 to 1.
        target_sensitivity: that was asked for.
        sensitivity_interval: 95 %, from low to high.
        specificity_interval: 95 %, from low to high.
        sensitivity_bound: One-sided 95 % Clopper-Pearson lower bound of the sensitivity.
        positive_images: Number of suspicious validation images that it was fitted on.
        negative_images: Number of other validation images that it was fitted on.
        leaked_images: Number of validation images with a copy, or an image of their group, in the training set.
        leaked_images_used: True if it was fitted on these too, as there were too few others.
        gap: Highest score below the threshold and lowest positive score above it, 0 to 1.
    """

    positive: tuple[str, ...]
    threshold: float
    sensitivity: float
    specificity: float
    target_sensitivity: float | None = None
    sensitivity_interval: tuple[float, float] | None = None
    specificity_interval: tuple[float, float] | None = None
    sensitivity_bound: Annotated[float | None, schema.Between(0, 1)] = None
    positive_images: Annotated[int | None, schema.Between(0)] = None
    negative_images: Annotated[int | None, schema.Between(0)] = None
    leaked_images: Annotated[int, schema.Between(0)] = 0
    leaked_images_used: bool = False
    gap: tuple[float, float] | None = None

    @property
    def figures(self) -> str:
        """Sensitivity and specificity with their 95 % intervals, as far as these are known, for people."""
        shown = []
        for name in ("sensitivity", "specificity"):
            interval = getattr(self, f"{name}_interval")
            shown.append(
                f"{name} {getattr(self, name):.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
            )
        return ", ".join(shown)

    def calls(self, probabilities: NDArray[np.floating[Any]], classes: Sequence[str]) -> NDArray[np.bool_]:
        """Returns for each image whether it is called suspicious: bool [images].

        Args:
            probabilities: [images, classes].
            classes: names of its columns.
        """
        return suspicion(probabilities, classes, self.positive) >= self.threshold

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "OperatingPoint":
        """Reads what a JSON document holds; fields of a later release are passed over.

        Raises:
            ValueError: it does not hold an operating point.
        """
        return schema.read(cls, values, "operating_point")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """All that a runtime must know of a model besides its graph.

    Attributes:
        name: the training run's name.
        classes: class names, in the order of the outputs' class axis.
        preprocessing: how a file becomes the input's pixels.
        precision: `fp32`, `fp16` or `int8`.
        created: when the run was trained, ISO 8601 in UTC.
        checkpoint_sha256: SHA-256 of the PyTorch weights that the model was exported from.
        data: what it was trained on: the folder's name, its fingerprint, and how many images each split held.
        synthetic: whether the training images were generated phantoms.
        metrics: PyTorch's figures on the validation and test images.
        parity: how far this file's answers lie from PyTorch's, from `Parity.as_dict`.
        gate: the bounds that they had to keep, from `ctonnx.parity.Gate`; None in files made before this was kept.
        versions: of ctonnx and of the libraries that made the file.
        temperature: what the logits are divided by before the softmax (Guo et al. 2017,
            https://arxiv.org/abs/1706.04599); the graph does it.
        dicom_window: the window for DICOM files.
        quantization: the quantization scheme, or None for a model in floating point.
        operating_point: None where the run fitted none.
        content_checksum: Checksum of the file without its metadata, from `ctonnx.integrity.content_checksum`; None in
            files made before it was kept.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    precision: Annotated[str, schema.As(Literal["fp32", "fp16", "int8"])]
    created: str
    checkpoint_sha256: str
    data: Annotated[Mapping[str, Any], schema.As(Data)]
    synthetic: bool
    metrics: Annotated[Mapping[str, Any], schema.As(Mapping[str, Metrics])]
    parity: Mapping[str, Any]
    versions: Mapping[str, str]
    gate: Annotated[Mapping[str, Any] | None, schema.As(GateBounds | None)] = None
    temperature: float = 1.0
    dicom_window: DicomWindow = field(default_factory=DicomWindow)
    quantization: Annotated[Mapping[str, Any] | None, schema.As(QuantizationFacts | None)] = None
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
            ModelError: the text is not a spec, or its schema is newer than this release can read.
        """
        try:
            values = schema.parse(text)
            version = schema.read(_Versioned, values).schema_version
            if version <= SCHEMA_VERSION:
                spec = schema.read(cls, values)
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
        classes: its classes.
        temperature: that its logits are divided by.
        point: where an image is suspicious.

    Raises:
        ValueError: a value lies outside of its range, or the operating point names other classes, one twice, or all.
    """
    if len(classes) < 2 or len(set(classes)) != len(classes) or not all(classes):
        raise ValueError(f"expected two or more different classes, found {schema.shown(classes)}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"expected a temperature above 0, found {temperature!r}")
    if point is None:
        return
    positive = set(point.positive)
    # A class named twice would count twice in the score, and a score of all classes is always 1.
    if not positive or len(positive) < len(point.positive) or not positive < set(classes):
        raise ValueError(
            f"expected positive classes, each once and not all, of {schema.shown(classes)}, found "
            f"{schema.shown(point.positive)}"
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
