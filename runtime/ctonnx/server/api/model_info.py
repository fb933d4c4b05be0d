"""The response of `/v1/model`: the model, its metrics, and the server's limits."""

import math
from collections.abc import Mapping
from typing import Any

from ctonnx.artifacts.caveats import caveats_of
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.rule import describe_basis
from ctonnx.artifacts.decision.shortcuts import describe_shortcuts
from ctonnx.artifacts.spec import ModelSpec, describe_history, describe_leakage, fitted_on
from ctonnx.images.formats import readable_formats
from ctonnx.parity.rounding import exactly, shown
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.settings import Settings

__all__ = ["NOTICE", "model_facts", "model_of_results"]

NOTICE = "A research tool, not a medical device: a prediction is not a diagnosis, and no decision may be based on it."
"""Notice to show with all predictions."""


_OF_RESULTS = (
    *("name", "run", "precision", "sha256", "synthetic"),
    *("coverage", "coverage_not_promised", "novelty", "fitted_on"),
)


def model_facts(predictor: Predictor, settings: Settings, *, version: str) -> dict[str, Any]:
    """Returns the response."""
    spec, limits = predictor.spec, settings.limits
    sets, novelty = spec.prediction_sets, spec.novelty
    return {
        "name": settings.model_name or predictor.path.stem,
        "run": spec.name,
        "precision": spec.precision,
        "sha256": predictor.sha256,
        "provider": predictor.provider,
        "classes": list(spec.classes),
        "image_size": spec.preprocessing.size,
        "operating_point": spec.operating_point and _suspicious(spec.operating_point, spec),
        "decision": spec.operating_point and _decision(spec),
        "coverage": sets and sets.coverage,
        "coverage_not_promised": list(sets.short_of_images) if sets else [],
        "novelty": novelty
        and {"threshold": novelty.threshold, "quantile": novelty.quantile, "percentile": novelty.percentile},
        "fitted_on": fitted_on(spec.history),
        "history": describe_history(spec),
        "metrics": dict(spec.metrics),
        "trained_on": _trained_on(spec.data, synthetic=spec.synthetic),
        "leaks": describe_leakage(spec.data),
        "acquisition": spec.acquisition and dict(spec.acquisition),
        "shortcuts": describe_shortcuts(spec.shortcuts),
        "caveats": caveats_of(spec),
        "synthetic": spec.synthetic,
        "version": version,
        "formats": readable_formats(),
        "limits": {"bytes": limits.body_bytes, "pixels": limits.pixels, "files": limits.files},
        "key_required": settings.key is not None,
        "notice": NOTICE,
    }


def model_of_results(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entry for the model, with the parts of its decisions, in each response of `/v1/classify`."""
    point = facts["operating_point"] or {"threshold": None, "positive": []}
    named = {name: facts[name] for name in _OF_RESULTS}
    return {**named, "threshold": point["threshold"], "positive": point["positive"]}


def _suspicious(point: OperatingPoint, spec: ModelSpec) -> dict[str, Any]:
    together = "" if len(point.positive) == 1 else " together"
    threshold = shown(point.threshold, 0.0, 1.0, digits=4, form="f")  # exact in `threshold`
    return {
        "threshold": point.threshold,
        "sensitivity": point.sensitivity,
        "specificity": point.specificity,
        "positive": list(point.positive),
        "normal": ", ".join(name for name in spec.classes if name not in point.positive),
        "text": f"suspicious if {' + '.join(point.positive)}{together} reach {threshold} or more "
        f"({point.metrics_text} on the {fitted_on(spec.history)})",
    }


def _decision(spec: ModelSpec) -> str:
    """Returns the parts that the decisions rest on, and the reasons to refer an image."""
    reasons = ["it has a warning", *([spec.brightness.sentence()] if spec.brightness else [])]
    if spec.novelty is not None:
        reasons.append(
            f"its novelty is above the threshold (percentile {math.floor(10 * spec.novelty.percentile) / 10:g} of the "
            f"{fitted_on(spec.history)})"
        )
    if spec.prediction_sets is not None:
        coverage = exactly(spec.prediction_sets.coverage, form="%")
        reasons.append(
            f"its prediction set (fitted for {coverage} coverage) has suspicious and other classes or contradicts the "
            "score"
        )
    basis = describe_basis(sets=spec.prediction_sets is not None, novelty=spec.novelty is not None)
    return f"decisions rest on {basis}; an image is referred if {' or '.join(reasons)}"


def _trained_on(data: Mapping[str, Any], *, synthetic: bool) -> str:
    """Returns the name of the training data and, if the spec has it, the number of training images."""
    counted = data.get("images", {}).get("train", {})
    images = f", {sum(counted.values())} images" if counted else ""
    phantoms = " (synthetic phantoms: its predictions have no clinical meaning)" if synthetic else ""
    return f"{data.get('name', 'unknown')}{images}{phantoms}"
