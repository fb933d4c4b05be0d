"""Trial of a candidate: parity, accuracy, changed verdicts, time, and its score."""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from tests.export.builders import SAME, SPEC, image_set

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.parity.acceptance_gates import Gate
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.trial import ComparisonSet, Suspicion, Trial, UnseenSet, compare_decisions, try_model

LOOSE = Gate(max_dp=1.0, min_agreement=0.5)


def test_pixels_of_rows_come_from_their_parts(compared: ComparisonSet, scans: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(compared.pixels(np.array([23, 0, 6, 5])), scans[[23, 0, 6, 5]])


def test_trial_has_the_accuracy_on_all_images_and_on_the_validation_images(
    small_model: onnx.ModelProto, compared: ComparisonSet
) -> None:
    trial = try_model(small_model, compared, LOOSE)
    assert trial.failures == ()
    assert trial.parity.images == 24
    assert trial.change is not None
    assert (trial.change.images, trial.change.reference, trial.change.difference) == (24, 23 / 24, 0)
    assert trial.validation is not None
    assert (trial.validation.images, trial.validation.reference) == (6, 5 / 6)
    assert trial.milliseconds > 0
    assert trial.bytes == len(small_model.SerializeToString())


def test_trial_counts_images_with_another_verdict_than_the_reference(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8], compared: ComparisonSet
) -> None:
    assert try_model(small_model, compared, LOOSE).suspicion is None
    sums = compared.reference.probabilities[:, [0, 2]].sum(axis=1)
    point = OperatingPoint(positive=("a", "c"), threshold=float(np.median(sums)), sensitivity=1.0, specificity=1.0)
    spec = replace(SPEC, classes=("a", "b", "c"), operating_point=point)
    judged = replace(compared, spec=spec)
    assert try_model(small_model, judged, LOOSE).suspicion == Suspicion(lost=0, gained=0)
    none = replace(compared.reference, probabilities=np.array([[0, 1, 0]] * 24, np.float32))
    assert judged.changed_suspicion(none) == Suspicion(lost=int((sums >= point.threshold).sum()), gained=0)


def test_decisions_are_compared_on_images_that_fitted_nothing(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8], compared: ComparisonSet
) -> None:
    without = try_model(small_model, compared, LOOSE).parity
    assert (without.decision_agreement, without.decision_images) == (None, None)
    sums = compared.reference.probabilities[:, [0, 2]].sum(axis=1)
    point = OperatingPoint(positive=("a", "c"), threshold=float(np.median(sums)), sensitivity=1.0, specificity=1.0)
    sets = PredictionSets(coverage=0.9, lowest=dict.fromkeys("abc", 0.0), images=dict.fromkeys("abc", 9))
    spec = replace(SPEC, classes=("a", "b", "c"), operating_point=point)
    # Validation images, the first six, are decided otherwise by the reference: they do not count.
    values = compared.reference.probabilities.copy()
    values[:6] = np.where(sums[:6, None] >= point.threshold, [[0, 1, 0]], [[1, 0, 0]])
    judged = replace(compared, spec=spec, reference=replace(compared.reference, probabilities=values))
    assert try_model(small_model, judged, LOOSE).parity.decision_agreement == 1.0
    values[6] = [0, 1, 0] if sums[6] >= point.threshold else [1, 0, 0]
    assert judged.decision_agreement(compared.reference) == 17 / 18
    gate = replace(LOOSE, min_decision_agreement=0.98)
    assert try_model(small_model, judged, gate).failures == (
        "94.44% of 18 images that fitted no threshold are decided alike, at least 98% are required",
    )
    assert try_model(small_model, judged, gate).parity.decision_images == 18
    outputs = run_onnx(small_model, [scans])
    assert compare_decisions(outputs, judged) is None  # no test images
    test = UnseenSet(images=image_set(scans, compared.labels), reference=judged.reference)
    found = compare_decisions(outputs, replace(judged, test=test))
    assert found is not None
    assert (found["images"], found["opposite"], found["newly_referred"], found["newly_decided"]) == (24, 7, 0, 0)
    assert found["changed_share"] == round(7 / 24, 6)
    assert "coverage" not in found
    referring = replace(judged, test=test, spec=replace(spec, prediction_sets=sets))
    found = compare_decisions(outputs, referring)
    assert found is not None
    assert found["changed_share"] == 0  # every set has every class: all are referred
    assert found["coverage"]["a"]["share"] == found["reference_coverage"]["a"]["share"] == 1
    assert found["coverage"]["a"]["promised"] == 0.9


def test_images_without_labels_have_no_accuracy(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    unlabelled = ComparisonSet(parts=(image_set(scans, np.full(24, -1)),), reference=run_onnx(small_model, [scans]))
    trial = try_model(small_model, unlabelled, Gate(max_dp=1.0, min_agreement=0.5, max_drop=0.0))
    assert (trial.change, trial.validation, trial.failures) == (None, None, ())


def test_nan_does_not_pass(small_model: onnx.ModelProto, compared: ComparisonSet) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(small_model)
    bias = next(weight for weight in broken.graph.initializer if weight.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))
    failures = try_model(broken, compared, LOOSE).failures
    assert failures[0] == "max |dp| is nan, at most 1 is allowed"


def test_trials_that_pass_have_the_best_scores_and_then_those_nearest_to_the_gate() -> None:
    gate = Gate(max_dp=1.0, min_agreement=0.99, min_heatmap_correlation=0.98)

    def trial(*, agreement: float, mean_dp: float, heatmaps: float = 1.0) -> Trial:
        parity = replace(SAME, agreement=agreement, mean_dp=mean_dp, heatmap_correlation=heatmaps)
        return Trial(parity=parity, milliseconds=1.0, bytes=1, broken=gate.broken(parity))

    order = [
        trial(agreement=0.995, mean_dp=0.002),
        trial(agreement=0.99, mean_dp=0.001),
        trial(agreement=0.99, mean_dp=0.003),
        trial(agreement=0.99, mean_dp=0.009, heatmaps=0.9776),
        trial(agreement=0.985, mean_dp=0.001),
        trial(agreement=1.0, mean_dp=0.001, heatmaps=0.966),
        trial(agreement=0.985, mean_dp=0.001, heatmaps=0.966),
        trial(agreement=0.9, mean_dp=0.001),
        trial(agreement=1.0, mean_dp=0.0, heatmaps=float("nan")),
    ]
    assert sorted(order, key=lambda one: one.score, reverse=True) == order
