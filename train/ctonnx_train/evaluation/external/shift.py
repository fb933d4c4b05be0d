"""The shift from the training images to other scans: novelty, brightness, contrast and size."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import load
from ctonnx.parity.outputs import Outputs
from ctonnx.system.cpu import available_cores
from ctonnx_train.data.sources import Source
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.external.decisions import share_of

__all__ = ["FACTS", "describe_shift"]

FACTS = {
    "mean": "mean grey",
    "spread": "spread of the grey values",
    "black": "share of black pixels",
    "white": "share of white pixels",
    "width": "width in pixels",
    "height": "height in pixels",
}
"""Facts of a scan, by their names in `ModelSpec.acquisition`. The window decides how many pixels are black or white."""

_BLACK, _WHITE = 4, 251


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
    here = _facts(source, samples)
    known = spec.acquisition or {}
    facts = {}
    for name, values in here.items():
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


def _facts(source: Source, samples: Sequence[Sample]) -> dict[str, NDArray[np.float64]]:
    """Returns each fact of each scan, [scans]; grey values are 0 to 255, shares 0 to 1."""
    with ThreadPoolExecutor(available_cores(), "ctonnx-decode") as pool:
        rows = list(pool.map(lambda sample: _facts_of(source, sample.path), samples))
    table = np.array(rows, np.float64)
    return {name: table[:, place] for place, name in enumerate(FACTS)}


def _facts_of(source: Source, path: str) -> tuple[float, ...]:
    scan = load(source.image(path))
    histogram = np.array(scan.image.convert("L").histogram(), np.float64)
    share, levels = histogram / histogram.sum(), np.arange(256)
    mean = float(share @ levels)
    spread = float(np.sqrt(share @ (levels - mean) ** 2))
    return mean, spread, float(share[: _BLACK + 1].sum()), float(share[_WHITE:].sum()), *map(float, scan.size)
