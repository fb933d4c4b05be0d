"""The search: integer adds first, float adds where none passes, then noisy layers in float until the gate holds."""

import itertools
import sys
from dataclasses import replace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.export.report.test_markdown import SPEC

from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.parity.comparison import compare
from ctonnx.parity.gates import BrokenBound, Gate
from ctonnx.parity.outputs import Outputs
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.image_sets import ImageSet, shown
from ctonnx_export.quantization import search as module
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import CALIBRATORS, Ranges, collect_ranges
from ctonnx_export.quantization.qdq import Scheme, quantized_tensors
from ctonnx_export.quantization.search import Attempt, search
from ctonnx_export.trial import ComparisonSet, Suspicion, Trial, try_model
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.splits import Sample

LOOSE = Gate(max_dp=1.0, min_agreement=0.5)
BROKEN = BrokenBound("min_agreement", 1.0, "agreement is 98.00%, at least 99.00% is required")


class Store:
    """Stands in for a `PixelStore`."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels

    def take(self, rows: list[int]) -> NDArray[np.uint8]:
        return self.pixels[rows]


def images(pixels: NDArray[np.uint8], labels: NDArray[np.integer[Any]]) -> ImageSet:
    samples = tuple(Sample(f"{row}.png", int(label)) for row, label in enumerate(labels))
    return ImageSet(store=cast(PixelStore, Store(pixels)), samples=samples)


@pytest.fixture(scope="module")
def ranges(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> Ranges:
    return collect_ranges(small_model, quantized_tensors(small_model), [scans[:8]])


@pytest.fixture(scope="module")
def correction(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> BiasCorrection:
    return BiasCorrection(small_model, images(scans[:8], np.zeros(8, np.int64)))


@pytest.fixture(scope="module")
def compared(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> ComparisonSet:
    reference = run_onnx(small_model, [scans])
    labels = reference.probabilities.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3  # the reference is wrong on one image
    return ComparisonSet(parts=(images(scans[:6], labels[:6]), images(scans[6:], labels[6:])), reference=reference)


def test_every_calibrator_is_tried_with_integer_adds_alone_where_one_passes(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    said: list[str] = []
    found = search(small_model, ranges, correction, compared, LOOSE, log=said.append)
    tried = [(attempt.scheme.integer_adds, attempt.scheme.calibrator) for attempt in found.attempts]
    assert tried == [(True, calibrator) for calibrator in CALIBRATORS]
    assert said[0] == "int8: looking for a model with agreement 50 % or more"
    assert len(said) == 7
    assert said[1].startswith("int8, 1 of 6: minmax, integer adds: agreement 100.00%, mean |dp| 0.000")
    assert [line.partition(": passes")[2] for line in said[1:]] == [*["; about 5 s left"] * 5, ""]


class Clock:
    """A clock on which a trial takes ten seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_each_line_tells_which_bounds_are_broken_and_how_long_the_search_takes_still(
    small_model: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, tries = Clock(), itertools.count(1)
    trial = try_model(small_model, compared, LOOSE)
    heatmaps = BrokenBound("min_heatmap_correlation", 1.0, "the heatmaps' median correlation is 0.9, at least 0.98 is")

    def refuse_the_first_thirteen(model: onnx.ModelProto, compared: ComparisonSet, gate: Gate) -> Trial:
        clock.now += 10
        return replace(trial, broken=(BROKEN, heatmaps)) if next(tries) <= 13 else trial

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "try_model", refuse_the_first_thirteen)
    said: list[str] = []
    search(small_model, ranges, correction, compared, LOOSE, log=said.append)
    rejected = ": rejected: agreement is 98.00%, at least 99.00% is required; " + heatmaps.phrase
    tried = [line for line in said if " of " in line and ", mean |dp| " in line]
    assert [rejected in line for line in tried] == [True] * 13 + [False]
    left = [line.rpartition("; ")[2] for line in tried[:5]]
    assert left == [f"about {time} left, more if none passes" for time in ("50 s", "40 s", "30 s", "20 s", "10 s")]
    assert tried[5].endswith(rejected)
    assert tried[12].endswith(f"{rejected}; at most 50 s left")
    assert tried[13].endswith(": passes")


def test_float_adds_are_tried_where_no_integer_adds_pass_and_the_one_that_passes_is_taken(
    small_model: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = itertools.count(1)

    def refuse_the_first_six(model: onnx.ModelProto, compared: ComparisonSet, gate: Gate) -> Trial:
        trial = try_model(model, compared, gate)
        return replace(trial, broken=(BROKEN,)) if next(tries) <= len(CALIBRATORS) else trial

    monkeypatch.setattr(module, "try_model", refuse_the_first_six)
    found = search(small_model, ranges, correction, compared, LOOSE)
    tried = [(attempt.scheme.integer_adds, attempt.scheme.calibrator) for attempt in found.attempts]
    assert tried == [(adds, calibrator) for adds in (True, False) for calibrator in CALIBRATORS]
    assert (found.scheme.integer_adds, found.scheme.excluded) == (False, ())


def test_the_best_of_those_that_pass_is_taken(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    found = search(small_model, ranges, correction, compared, LOOSE)
    best = min(found.attempts, key=lambda attempt: attempt.trial.parity.mean_dp)
    assert found.scheme == best.scheme
    parity = compare(compared.reference, run_onnx(found.model, compared.batches()))
    assert parity == best.trial.parity


def test_candidates_have_no_mean_error_of_the_logits_on_the_calibration_images(
    small_model: onnx.ModelProto,
    scans: NDArray[np.uint8],
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
) -> None:
    found = search(small_model, ranges, correction, compared, LOOSE)
    error = run_onnx(found.model, [scans[:8]]).logits - compared.reference.logits[:8]
    assert np.abs(error.mean(axis=0)).max() < 1e-5
    assert np.abs(error).max() > 1e-3


def test_target_reaches_the_scheme(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    assert search(small_model, ranges, correction, compared, LOOSE, target="arm").scheme.target == "arm"


def test_layers_go_back_to_float_one_by_one_until_the_gate_holds(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    plain = search(small_model, ranges, correction, compared, LOOSE)
    least = min(attempt.trial.parity.max_dp for attempt in plain.attempts)
    found = search(small_model, ranges, correction, compared, Gate(max_dp=least * 0.8, min_agreement=0.5))
    excluded = [len(attempt.scheme.excluded) for attempt in found.attempts]
    assert excluded[:12] == [0] * 12
    assert excluded[12:] == list(range(1, len(excluded) - 11))
    assert len(excluded) > 12
    last = found.attempts[-1]
    assert not last.trial.failures
    assert found.scheme == last.scheme
    assert all(attempt.trial.failures for attempt in found.attempts[:-1])


def test_gate_that_cannot_be_passed_leaves_the_best_one_with_its_failures(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    found = search(small_model, ranges, correction, compared, Gate(max_dp=-1.0, min_agreement=0.5))
    assert len(found.attempts) == 12 + 6  # each of the six convolutions
    chosen = next(attempt for attempt in found.attempts if attempt.scheme == found.scheme)
    assert chosen.score == max(attempt.score for attempt in found.attempts)
    assert chosen.trial.failures[0].startswith("max |dp| is ")


def test_number_of_layers_that_go_back_to_float_is_bounded(
    small_model: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module._MOST_EXCLUDED == 16
    monkeypatch.setattr(module, "_MOST_EXCLUDED", 2)
    found = search(small_model, ranges, correction, compared, Gate(max_dp=-1.0, min_agreement=0.5))
    assert [len(attempt.scheme.excluded) for attempt in found.attempts[12:]] == [1, 2]


def test_trial_tells_accuracy_on_all_images_and_on_the_validation_images(
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


def test_trial_tells_how_often_suspicious_is_answered_as_by_the_reference(
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


def test_images_without_labels_have_no_accuracy(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    unlabelled = ComparisonSet(parts=(images(scans, np.full(24, -1)),), reference=run_onnx(small_model, [scans]))
    trial = try_model(small_model, unlabelled, Gate(max_dp=1.0, min_agreement=0.5, max_drop=0.0))
    assert (trial.change, trial.validation, trial.failures) == (None, None, ())


def test_nan_does_not_pass(small_model: onnx.ModelProto, compared: ComparisonSet) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(small_model)
    bias = next(weight for weight in broken.graph.initializer if weight.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))
    failures = try_model(broken, compared, LOOSE).failures
    assert failures[0] == "max |dp| is nan, at most 1 is allowed"


def test_attempts_that_pass_come_first_and_then_those_that_are_nearest_to_the_gate(compared: ComparisonSet) -> None:
    gate = Gate(max_dp=1.0, min_agreement=0.99, min_heatmap_correlation=0.98)

    def attempt(*, agreement: float, mean_dp: float, heatmaps: float = 1.0) -> Attempt:
        parity = compare(compared.reference, compared.reference)
        changed = parity.__class__(
            **{**parity.__dict__, "agreement": agreement, "mean_dp": mean_dp, "heatmap_correlation": heatmaps}
        )
        trial = Trial(parity=changed, milliseconds=1.0, bytes=1, broken=gate.broken(changed))
        return Attempt(Scheme(), trial)

    order = [
        attempt(agreement=0.995, mean_dp=0.002),
        attempt(agreement=0.99, mean_dp=0.001),
        attempt(agreement=0.99, mean_dp=0.003),
        attempt(agreement=0.99, mean_dp=0.009, heatmaps=0.9776),
        attempt(agreement=0.985, mean_dp=0.001),
        attempt(agreement=1.0, mean_dp=0.001, heatmaps=0.966),
        attempt(agreement=0.985, mean_dp=0.001, heatmaps=0.966),
        attempt(agreement=0.9, mean_dp=0.001),
        attempt(agreement=1.0, mean_dp=0.0, heatmaps=float("nan")),
    ]
    assert sorted(order, key=lambda one: one.score, reverse=True) == order


def test_outputs_of_the_parts_stand_in_their_order(compared: ComparisonSet) -> None:
    assert len(list(compared.batches())) == 3  # 6, 16 and 2 images
    assert isinstance(compared.reference, Outputs)
    assert [len(pixels) for pixels in compared.batches()] == [6, 16, 2]


@pytest.mark.parametrize("terminal", [True, False])
def test_images_are_shown_to_be_gone_through_on_a_terminal_alone(
    terminal: bool,
    scans: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    parts = [images(scans[:5], np.zeros(5, np.int64)), images(scans[5:9], np.zeros(4, np.int64))]
    found = list(shown("comparing", *parts, count=2))
    assert [len(pixels) for pixels in found] == [2, 2, 1, 2, 2]
    np.testing.assert_array_equal(np.concatenate(found), scans[:9])
    assert ("comparing:   0%" in capsys.readouterr().err) is terminal
