"""Builders that several test files of the export use: a spec, report facts, parity, image sets in memory."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.parity.comparison import Parity
from ctonnx_export.image_sets import ImageSet
from ctonnx_export.models import ExportedModel
from ctonnx_export.report.facts import report
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.splits import Sample

LEAKS = {
    "groups": 59,
    "files": 166,
    "groups_across_splits": 8,
    "files_across_splits": 44,
    "groups_with_several_labels": 1,
    "files_with_several_labels": 2,
    "leaked": {"valid": 10, "test": 3},
    "dropped": {},
}


METRICS = {"images": 72, "accuracy": 0.71875, "macro": {"f1": 0.7, "auroc": None}}


POINT = OperatingPoint(
    positive=("large cell", "tumor"),
    threshold=0.123456,
    sensitivity=0.9667,
    specificity=0.5,
    target_sensitivity=0.95,
    sensitivity_interval=(0.8864, 0.9908),
    specificity_interval=(0.254, 0.746),
)


SPEC = ModelSpec(
    name="lungs",
    classes=("normal", "tumor", "large cell"),
    preprocessing=Preprocessing(size=64),
    precision="fp32",
    created="2026-01-02T03:04:05+00:00",
    checkpoint_sha256="ab" * 32,
    data={"name": "chest-ct", "fingerprint": "cd", "leaks": LEAKS},
    synthetic=False,
    metrics={"valid": METRICS},
    parity={
        "images": 72,
        "agreement": 1.0,
        "max_dp": 1e-7,
        "mean_dp": 1e-8,
        "max_dlogit": 1e-6,
        "max_dheatmap": 0.0,
        "heatmap_correlation": 1.0,
        "lowest_heatmap_correlation": 1.0,
    },
    versions={"torch": "2.15.0"},
    temperature=1.37,
    operating_point=POINT,
)


SAME = Parity(
    images=280,
    agreement=1.0,
    max_dp=0.0,
    mean_dp=0.0,
    max_dlogit=0.0,
    max_dheatmap=0.0,
    heatmap_correlation=1.0,
    lowest_heatmap_correlation=1.0,
)
"""Parity of two models with the same outputs."""


def facts(**changes: Any) -> dict[str, Any]:
    """Returns the report of an FP32 model whose spec is `SPEC` with changes."""
    files = {"model.fp32.onnx": {"bytes": 17, "sha256": "ef" * 32}}
    spec = replace(SPEC, **changes)
    model = onnx.ModelProto()
    fp32 = ExportedModel(precision="fp32", model=model, spec=spec, gate=GATES["fp32"], facts={"onnxsim": "simplified"})
    return report([fp32], files)


class _Store:
    """A `PixelStore` of pixels in memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self.digests: dict[str, str] = {}

    def take(self, rows: list[int]) -> NDArray[np.uint8]:
        return self.pixels[rows]


def image_set(pixels: NDArray[np.uint8], labels: NDArray[np.integer[Any]]) -> ImageSet:
    """Returns an image set of pixels and labels in memory."""
    samples = tuple(Sample(f"{row}.png", int(label)) for row, label in enumerate(labels))
    return ImageSet(store=cast(PixelStore, _Store(pixels)), samples=samples)
