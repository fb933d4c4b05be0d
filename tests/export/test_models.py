"""Models of a run: the spec of an early run, and the reference outputs of the comparison."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tests.export.builders import POINT, SAME, SPEC, image_set

from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx_export import models
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.original import original_of
from ctonnx_export.image_sets import ImageSets
from ctonnx_export.models import ExportedModel, comparison_set, make_fp16
from ctonnx_export.quantization.search.judging import Judging
from ctonnx_export.trial import ComparisonSet, Trial, UnseenSet
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
    assert (found.parts, found.spec, found.counts()) == (compared.parts, SPEC, {"valid": 6, "train": 18})
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


def judged(small_model: onnx.ModelProto, compared: ComparisonSet, gate: Gate, rows: list[int]) -> tuple[Trial, Any]:
    """Returns the trial of a candidate that some images judge and the others chose."""
    others = [row for row in range(24) if row not in rows]
    judging = Judging(method="halves", choosing=np.array(others), judging=np.array(rows))
    return models._judge(models._Candidate("int8", small_model, gate, {}, judging=judging), compared)


def test_images_that_judge_reject_a_candidate_and_the_reason_names_them(
    small_model: onnx.ModelProto, compared: ComparisonSet
) -> None:
    probabilities = compared.reference.probabilities.copy()
    probabilities[20:24] = np.roll(probabilities[20:24], 1, axis=1)
    differing = replace(compared, reference=replace(compared.reference, probabilities=probabilities))
    gate = Gate(max_dp=1.0, min_agreement=0.75)
    trial, facts = judged(small_model, differing, gate, [0, 1, 10, 11, 20, 21, 22, 23])
    assert trial.failures == (
        "agreement is 50.00%, at least 75.00% is required (on the 8 images that judge, which chose nothing)",
    )
    assert (trial.parity.images, trial.parity.agreement) == (8, 0.5)
    assert facts == {
        "method": "halves",
        "choosing": {"valid": 4, "train": 12},
        "judging": {"valid": 2, "train": 6},
    }
    fewer = judged(small_model, differing, Gate(max_dp=1.0, min_agreement=0.9), list(range(12)))[0]
    assert fewer.parity.agreement == 1.0
    assert fewer.failures == ("agreement is 83.33%, at least 90.00% is required (on all 24 compared images)",)


def test_folds_judge_by_their_outputs_and_not_by_those_of_the_file(
    small_model: onnx.ModelProto, compared: ComparisonSet
) -> None:
    pooled = replace(compared.reference, probabilities=np.roll(compared.reference.probabilities, 1, axis=1))
    rows = np.arange(24)
    judging = Judging(method="folds", choosing=rows, judging=rows, outputs=pooled, folds=("a", "a", "b"))
    candidate = models._Candidate("int8", small_model, Gate(max_dp=1.0, min_agreement=0.5), {}, judging=judging)
    trial, facts = models._judge(candidate, compared)
    assert trial.parity.agreement == 0
    assert trial.failures[0].endswith("(on 24 images, each with the candidate that the other folds chose)")
    assert facts["folds"] == {"a": 2, "b": 1}


def test_spec_has_the_interval_of_the_agreement_and_what_judged(
    small_model: onnx.ModelProto, compared: ComparisonSet
) -> None:
    fp32 = ExportedModel(precision="fp32", model=small_model, spec=SPEC, gate=GATES["fp32"])
    half = make_fp16(fp32, compared, Gate(max_dp=1.0, min_agreement=0.5), lambda line: None)
    assert half.spec.parity["agreement_interval"] == [0.862024, 1.0]
    assert half.spec.parity["judged"] == {"method": "all", "choosing": {}, "judging": {"valid": 6, "train": 18}}
    assert ModelSpec.from_json(half.spec.to_json()) == half.spec


def test_agreement_on_test_images_is_in_the_facts(
    small_model: onnx.ModelProto, compared: ComparisonSet, scans: NDArray[np.uint8]
) -> None:
    fp32 = ExportedModel(precision="fp32", model=small_model, spec=SPEC, gate=GATES["fp32"])
    reference = compared.reference.probabilities.copy()
    reference[:6] = np.roll(reference[:6], 1, axis=1)
    test = UnseenSet(
        images=image_set(scans, compared.labels), reference=replace(compared.reference, probabilities=reference)
    )
    made = make_fp16(fp32, replace(compared, test=test), Gate(max_dp=1.0, min_agreement=0.5), lambda line: None)
    found = made.facts["agreement_on_test"]
    assert (found["images"], found["agreement"], found["agreement_interval"]) == (24, 0.75, [0.551006, 0.880006])
    assert found["mean_dp"] > 0
    assert make_fp16(fp32, compared, made.gate, lambda line: None).facts["agreement_on_test"] is None


def test_added_images_are_compared_without_an_accuracy_and_decided(
    small_model: onnx.ModelProto, compared: ComparisonSet, scans: NDArray[np.uint8]
) -> None:
    first, second = compared.parts
    added = image_set(scans[:4], np.full(4, -1))
    images = ImageSets(
        validation=first, golden=np.arange(6), choose_held_out=lambda: second, choose_added=lambda avoid: added
    )
    spec = replace(SPEC, classes=("a", "b", "c"), operating_point=replace(POINT, positive=("a", "c")))
    fp32 = ExportedModel(precision="fp32", model=small_model, spec=spec, gate=GATES["fp32"])
    messages: list[str] = []
    found = comparison_set(fp32, images, messages.append)
    assert messages == ["comparing on 28 images: 6 validation, 18 training (not used for calibration), 4 added"]
    half = make_fp16(fp32, found, Gate(max_dp=1.0, min_agreement=0.5), lambda line: None)
    assert half.trial is not None
    assert half.trial.change is not None
    assert (half.trial.parity.images, half.trial.change.images, half.trial.parity.decision_images) == (28, 24, 22)
    assert half.facts["compared"] == {"valid": 6, "train": 18, "added": 4}
    assert half.spec.parity["judged"]["judging"] == half.facts["compared"]
