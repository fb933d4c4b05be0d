"""The facts of an export report, as one JSON document."""

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
) -> dict[str, Any]:
    """Returns the report: what the models share, each with its gate and how it did, and each file's size and SHA-256.

    Args:
        models: FP32 first; those that were refused too.
        files: `bytes` and `sha256` by file name; none where nothing was written.
        notes: of `ctonnx_export.report.caveats.cautions`.
        pending: The precisions that were asked for and are not made yet.
    """
    return {
        "model": json.loads(models[0].spec.to_json()),
        "precisions": {made.precision: _precision(made, models) for made in models},
        "notes": list(notes),
        "pending": list(pending),
        "files": {name: dict(facts) for name, facts in files.items()},
    }


def _precision(made: ExportedModel, models: Sequence[ExportedModel]) -> dict[str, Any]:
    """Returns what the report tells of one model."""
    trial = made.trial.as_dict() if made.trial else {"parity": dict(made.spec.parity)}
    return {
        **trial,
        **made.facts,
        "quantization": made.spec.quantization,
        "gate": asdict(made.gate),
        "passed": not made.failures,
        "unshown": list(made.gate.unshown(made.trial.parity, made.trial.change)) if made.trial else [],
        "failures": list(made.failures),
        "advice": _advice(made, models) if made.failures else None,
    }


def _advice(made: ExportedModel, models: Sequence[ExportedModel]) -> str:
    """Returns what may help a model that was refused."""
    parts = []
    broken = {bound.bound for bound in made.trial.broken} if made.trial else set()
    if made.precision == "fp16":
        parts.append("Train with weight decay, so that fewer layers come near fp16's range.")
    else:
        calibration = made.facts["calibration"]
        if calibration["foreign"]:
            parts.append("Calibrate on the run's own images (without `--calibrate`), or on others that are like them.")
        elif calibration["images"] < calibration["asked_for"]:
            parts.append("No more images were there to calibrate on: others of this kind (`--calibrate`) may help.")
        else:
            parts.append(
                "More calibration images (`--samples`) or such as the model will see (`--calibrate`) may help."
            )
    options = {"min_agreement": "`--min-agreement`", "max_drop": "`--max-drop`"}
    if movable := [option for bound, option in options.items() if bound in broken]:
        parts.append(f"{' and '.join(movable)} can move the gate, if you know what a disagreement costs.")
    if "min_heatmap_correlation" in broken:
        parts.append("The heatmaps' bound cannot be moved: such a model shows people other reasons than its original.")
    if all(other.precision != "fp16" for other in models):
        parts.append("FP16 was not asked for: it agrees better, at half the size (`--precision fp16`).")
    return " ".join(parts)
