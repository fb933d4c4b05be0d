"""The shift from the training images to other scans: novelty, brightness, contrast and size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.outputs import Outputs
from ctonnx_train.audit.facts import Facts
from ctonnx_train.evaluation.statistics.shares import exact_share_of

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
    spec: ModelSpec,
    rows: Sequence[Facts],
    outputs: Outputs,
    is_positive: NDArray[np.bool_],
    groups: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Returns a JSON-ready description of the shift from the training images to these scans.

    Args:
        spec: Spec of the model.
        rows: Facts of each scan, from `ctonnx_train.audit.facts.image_facts`.
        outputs: The model's outputs for the scans.
        is_positive: Whether each scan is positive, [scans].
        groups: Number of each scan's group, for the intervals.

    Returns:
        `novelty`: share of all, the positive and the negative scans above the novelty threshold, and the median of
        their percentiles among the validation images, or None if the model has none. `facts`: for each of `FACTS` the
        median `here`, and, if the spec has the training images' facts, the median of each class `in_training`, the
        `middle_90` of all training images, and the share of scans `outside` that range. `training_known` is True if
        the spec has them.
    """
    known = spec.acquisition or {}
    facts = {}
    for name in FACTS:
        has_it = [number for number, row in enumerate(rows) if name in row]
        values = np.array([rows[number][name] for number in has_it], np.float64)
        if len(values):
            of_values = None if groups is None else [groups[number] for number in has_it]
            facts[name] = {"here": round(float(np.median(values)), 4), **_in_training(known, name, values, of_values)}
    numbers = None if groups is None else np.asarray(groups)
    return {"novelty": _novelty(spec, outputs, is_positive, numbers), "facts": facts, "training_known": bool(known)}


def _novelty(
    spec: ModelSpec, outputs: Outputs, is_positive: NDArray[np.bool_], groups: NDArray[np.integer[Any]] | None
) -> dict[str, Any] | None:
    limit, novelty = spec.novelty, outputs.novelty
    if limit is None or novelty is None:
        return None
    flags = limit.flags(novelty)
    return {
        "flagged": exact_share_of(flags, groups),
        "flagged_positive": exact_share_of(flags[is_positive], None if groups is None else groups[is_positive]),
        "flagged_negative": exact_share_of(flags[~is_positive], None if groups is None else groups[~is_positive]),
        "expected": round(1 - limit.quantile, 4),
        "median_percentile": round(float(np.median(limit.percentiles(novelty))), 1),
    }


def _in_training(
    known: Mapping[str, Any], name: str, values: NDArray[np.float64], groups: Sequence[int] | None
) -> dict[str, Any]:
    """Returns the values of the training images, from `ctonnx_train.audit.facts.acquisition`."""
    by_class, middle = known.get("by_class"), known.get("middle_90")
    found: dict[str, Any] = {}
    if isinstance(by_class, Mapping):
        medians = {kind: of[name] for kind, of in by_class.items() if isinstance(of, Mapping) and name in of}
        found["in_training"] = {kind: value for kind, value in medians.items() if isinstance(value, int | float)}
    ends = middle.get(name) if isinstance(middle, Mapping) else None
    if isinstance(ends, list | tuple) and len(ends) == 2:
        outside = (values < ends[0]) | (values > ends[1])
        found |= {"middle_90": list(ends), "outside": exact_share_of(outside, groups)}
    return found
