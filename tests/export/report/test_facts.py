"""Facts of an export: the contents of report.json, and suggestions for models that failed their gates."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import onnx
from tests.export.builders import LEAKS, SAME, SPEC, facts

from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx.system.files import json_text
from ctonnx_export.models import ExportedModel
from ctonnx_export.report.facts import report
from ctonnx_export.trial import Trial


def test_document_contains_the_operating_point_and_the_copies() -> None:
    document = json.loads(json_text(facts()))
    assert document["model"]["data"]["leaks"] == LEAKS
    assert document["model"]["temperature"] == 1.37
    assert document["model"]["operating_point"] == {
        "positive": ["large cell", "tumor"],
        "threshold": 0.123456,
        "sensitivity": 0.9667,
        "specificity": 0.5,
        "target_sensitivity": 0.95,
        "sensitivity_interval": [0.8864, 0.9908],
        "specificity_interval": [0.254, 0.746],
        "sensitivity_bound": None,
        "positive_images": None,
        "negative_images": None,
        "leaked_images": 0,
        "leaked_images_used": False,
        "positive_patients": None,
        "negative_patients": None,
        "gap": None,
    }


def advice_for(
    gate: Gate,
    *,
    asked_for: int = 300,
    foreign: bool = False,
    fp16: bool = False,
    learned: bool = False,
    **values: Any,
) -> str:
    """Returns the report's suggestions for an INT8 model whose parity has these values."""
    parity = replace(SAME, **values)
    trial = Trial(parity=parity, milliseconds=1.0, bytes=1, broken=gate.broken(parity))
    calibration = {"images": 300, "asked_for": asked_for, "of": "other", "blank": 0, "foreign": foreign}
    found = {"calibration": calibration, "attempts": [], **({"learned": {}} if learned else {})}
    exported = partial(ExportedModel, model=onnx.ModelProto(), spec=SPEC)
    models = [
        exported(precision="fp32", gate=GATES["fp32"], facts={"onnxsim": "simplified"}),
        *([exported(precision="fp16", gate=GATES["fp16"])] if fp16 else []),
        exported(precision="int8", gate=gate, trial=trial, facts=found),
    ]
    advice: str = report(models, {})["precisions"]["int8"]["advice"]
    return advice


def test_advice_names_the_option_of_the_bound_that_is_broken() -> None:
    assert advice_for(GATES["int8"], agreement=0.97) == (
        "More calibration images (`--samples`), or more typical ones (`--calibrate`), may help. `--finetune` trains "
        "the weights and scales on FP32's outputs, which takes minutes more. `--min-agreement` can change the gate, if "
        "you know the cost of a disagreement. FP16 was not requested: it agrees better, at half the size "
        "(`--precision fp16`)."
    )


def test_advice_does_not_suggest_fine_tuning_to_a_model_that_was_fine_tuned() -> None:
    assert "--finetune" in advice_for(GATES["int8"], agreement=0.97)
    assert "--finetune" not in advice_for(GATES["int8"], agreement=0.97, learned=True)


def test_advice_on_heatmaps_names_no_option_that_cannot_help() -> None:
    advice = advice_for(GATES["int8"], heatmap_correlation=0.9, fp16=True)
    assert "--m" not in advice
    assert "The bound of the heatmaps cannot be changed" in advice
    assert advice.endswith("other reasons than FP32.")


def test_advice_does_not_suggest_more_images_if_all_were_used() -> None:
    advice = advice_for(GATES["int8"], agreement=0.9, asked_for=100_000)
    assert "--samples" not in advice
    assert "All images were used for the calibration: others of this kind (`--calibrate`) may help." in advice


def test_advice_on_foreign_images_is_to_use_the_runs() -> None:
    advice = advice_for(GATES["int8"], agreement=0.9, foreign=True, asked_for=500)
    assert advice.startswith("Calibrate on the run's own images (without `--calibrate`)")
