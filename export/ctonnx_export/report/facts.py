"""Facts of an export, as one JSON document: report.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ctonnx_export.models import ExportedModel

__all__ = ["report"]


def report(
    models: Sequence[ExportedModel],
    files: Mapping[str, Mapping[str, Any]],
    notes: Sequence[str] = (),
    pending: Sequence[str] = (),
    stress: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the report: the models' common spec, gate and trial of each model, size and SHA-256 of each file.

    FP32 is the first model, and those that failed are included; `files` is empty if nothing was written. `stress` is
    the stress test of the checkpoint, if there was one.
    """
    return {
        "model": json.loads(models[0].spec.to_json()),
        "precisions": {model.precision: _precision(model, models) for model in models},
        "notes": list(notes),
        "pending": list(pending),
        "stress": None if stress is None else dict(stress),
        "files": {name: dict(facts) for name, facts in files.items()},
    }


def _precision(model: ExportedModel, models: Sequence[ExportedModel]) -> dict[str, Any]:
    """Returns the report's entries for one model."""
    trial = model.trial.as_dict() if model.trial else {"parity": dict(model.spec.parity)}
    return {
        **trial,
        **model.facts,
        "quantization": model.spec.quantization,
        "gate": asdict(model.gate),
        "passed": not model.failures,
        "unshown": list(model.gate.unshown(model.trial.parity, model.trial.change)) if model.trial else [],
        "failures": list(model.failures),
        "advice": _advice(model, models) if model.failures else None,
    }


def _advice(model: ExportedModel, models: Sequence[ExportedModel]) -> str:
    """Returns suggestions for a model that failed its gate."""
    parts = []
    broken = {bound.bound for bound in model.trial.broken} if model.trial else set()
    if model.precision == "fp16":
        parts.append("Train with weight decay, so that fewer layers come near the limit of FP16's range.")
    else:
        calibration = model.facts["calibration"]
        if calibration["foreign"]:
            parts.append("Calibrate on the run's own images (without `--calibrate`), or on similar ones.")
        elif calibration["images"] < calibration["asked_for"]:
            parts.append("All images were used for the calibration: others of this kind (`--calibrate`) may help.")
        else:
            parts.append("More calibration images (`--samples`), or more typical ones (`--calibrate`), may help.")
        if "learned" not in model.facts:
            parts.append("`--finetune` trains the weights and scales on FP32's outputs, which takes minutes more.")
    options = {"min_agreement": "`--min-agreement`", "max_drop": "`--max-drop`"}
    if movable := [option for bound, option in options.items() if bound in broken]:
        parts.append(f"{' and '.join(movable)} can change the gate, if you know the cost of a disagreement.")
    if "min_heatmap_correlation" in broken:
        parts.append("The bound of the heatmaps cannot be changed: the model would show other reasons than FP32.")
    if all(other.precision != "fp16" for other in models):
        parts.append("FP16 was not requested: it agrees better, at half the size (`--precision fp16`).")
    return " ".join(parts)
