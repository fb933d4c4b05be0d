"""The shift from the training images to other scans: novelty, brightness, contrast and size."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images.loading import load_with_origin
from ctonnx.parity.outputs import Outputs
from ctonnx.system.cpu import available_cores
from ctonnx_train.audit.facts import image_facts
from ctonnx_train.data.sources import Source
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.external.shares import share_of

__all__ = ["FACTS", "describe_shift"]

FACTS = {
    "mean": "mean grey",
    "spread": "spread of the grey values",
    "black": "share of black pixels",
    "white": "share of white pixels",
    "width": "width in pixels",
    "height": "height in pixels",
    "slice_thickness": "slice thickness in mm",
    "pixel_spacing": "pixel spacing in mm",
    "kvp": "tube voltage in kV",
}
"""Facts of a scan, by their names in `ctonnx_train.audit.facts`; the last three are in DICOM files only.

The window decides how many pixels are black or white.
"""


def describe_shift(
    spec: ModelSpec, source: Source, samples: Sequence[Sample], outputs: Outputs, is_positive: NDArray[np.bool_]
) -> dict[str, Any]:
    """Returns a JSON-ready description of the shift from the training images to these scans.

    Returns:
        `novelty`: share of all, the positive and the negative scans above the novelty threshold, and the median of
        their percentiles among the validation images, or None if the model has none. `facts`: for each of `FACTS` the
        median `here`, and, if the spec has the training images' facts, the median of each class `in_training`, the
        `middle_90` of all training images, and the share of scans `outside` that range. `training_known` is True if
        the spec has them.
    """
    with ThreadPoolExecutor(available_cores(), "ctonnx-decode") as pool:
        rows = list(pool.map(lambda sample: image_facts(*load_with_origin(source.image(sample.path))), samples))
    known = spec.acquisition or {}
    facts = {}
    for name in FACTS:
        values = np.array([row[name] for row in rows if name in row], np.float64)
        if len(values):
            facts[name] = {"here": round(float(np.median(values)), 4), **_in_training(known, name, values)}
    return {"novelty": _novelty(spec, outputs, is_positive), "facts": facts, "training_known": bool(known)}


def _novelty(spec: ModelSpec, outputs: Outputs, is_positive: NDArray[np.bool_]) -> dict[str, Any] | None:
    limit, novelty = spec.novelty, outputs.novelty
    if limit is None or novelty is None:
        return None
    flags = limit.flags(novelty)
    return {
        "flagged": share_of(flags),
        "flagged_positive": share_of(flags[is_positive]),
        "flagged_negative": share_of(flags[~is_positive]),
        "expected": round(1 - limit.quantile, 4),
        "median_percentile": round(float(np.median(limit.percentiles(novelty))), 1),
    }


def _in_training(known: Mapping[str, Any], name: str, values: NDArray[np.float64]) -> dict[str, Any]:
    """Returns the values of the training images, from `ctonnx_train.audit.facts.acquisition`."""
    by_class, middle = known.get("by_class"), known.get("middle_90")
    found: dict[str, Any] = {}
    if isinstance(by_class, Mapping):
        medians = {kind: of[name] for kind, of in by_class.items() if isinstance(of, Mapping) and name in of}
        found["in_training"] = {kind: value for kind, value in medians.items() if isinstance(value, int | float)}
    ends = middle.get(name) if isinstance(middle, Mapping) else None
    if isinstance(ends, list | tuple) and len(ends) == 2:
        outside = (values < ends[0]) | (values > ends[1])
        found |= {"middle_90": list(ends), "outside": share_of(outside)}
    return found
