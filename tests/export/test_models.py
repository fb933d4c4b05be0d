"""Models of a run: the spec of an early run, and the reference outputs of the comparison."""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from tests.export.builders import POINT, SAME, SPEC

from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.acceptance_gates import GATES
from ctonnx_export import models
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.original import original_of
from ctonnx_export.image_sets import ImageSets
from ctonnx_export.models import ExportedModel, comparison_set, make_fp16
from ctonnx_export.trial import ComparisonSet
from ctonnx_train.runs.checkpoint import load_checkpoint


def test_run_of_an_earlier_release_is_exported_without_missing_values(exported_run: Run) -> None:
    checkpoint = load_checkpoint(exported_run)
    data = {name: value for name, value in checkpoint.record.data.items() if name != "leaks"}
    record = replace(checkpoint.record, temperature=1.0, operating_point=None, data=data)
    changed = replace(checkpoint, record=record)
    spec = models._spec(changed, original_of(changed), SAME)
    assert (spec.temperature, spec.operating_point, "leaks" in spec.data) == (1.0, None, False)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_rule_for_patients_is_in_the_spec(exported_run: Run) -> None:
    checkpoint = load_checkpoint(exported_run)
    point = checkpoint.record.operating_point
    assert point is not None
    rule = PatientRule(aggregate="top-k", k=3, operating_point=point, patients=12)
    changed = replace(checkpoint, record=replace(checkpoint.record, patient_rule=rule))
    spec = models._spec(changed, original_of(changed), SAME)
    assert spec.patient_rule == ModelSpec.from_json(spec.to_json()).patient_rule == rule


def test_reference_of_the_comparison_is_fp32_on_all_compared_images(
    small_model: onnx.ModelProto, compared: ComparisonSet, scans: NDArray[np.uint8]
) -> None:
    first, second = compared.parts
    images = ImageSets(validation=first, golden=np.arange(6), choose_held_out=lambda: second)
    fp32 = ExportedModel(precision="fp32", model=small_model, spec=SPEC, gate=GATES["fp32"])
    messages: list[str] = []
    found = comparison_set(fp32, images, messages.append)
    assert messages == ["comparing on 24 images: 6 validation, 18 training (not used for calibration)"]
    assert (found.parts, found.spec, found.counts) == (compared.parts, SPEC, {"valid": 6, "train": 18})
    np.testing.assert_allclose(found.reference.logits, run_onnx(small_model, [scans]).logits, rtol=0, atol=1e-5)


def test_gate_has_no_bound_on_decisions_that_were_not_compared(
    small_model: onnx.ModelProto, compared: ComparisonSet
) -> None:
    point = replace(POINT, positive=("a", "c"))
    spec = replace(SPEC, classes=("a", "b", "c"), operating_point=point)
    fp32 = ExportedModel(precision="fp32", model=small_model, spec=spec, gate=GATES["fp32"])
    gate = replace(GATES["fp16"], max_dp=1.0, min_agreement=0.0)
    first = replace(compared, parts=compared.parts[:1], reference=compared.reference[:6], spec=spec)
    alone = make_fp16(fp32, first, gate, lambda line: None)
    assert alone.gate == replace(gate, min_decision_agreement=None)
    assert alone.spec.gate is not None
    assert (alone.spec.gate["min_decision_agreement"], "decision_images" in alone.spec.parity) == (None, False)
    full = make_fp16(fp32, replace(compared, spec=spec), gate, lambda line: None)
    assert (full.gate, full.spec.parity["decision_images"]) == (gate, 18)
