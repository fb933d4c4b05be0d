"""Search: integer adds first, then float adds if none passes, then sensitive layers in float until the gate passes."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.export.builders import image_set

from ctonnx.parity.acceptance_gates import BrokenBound, Gate
from ctonnx.parity.comparison import compare
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.image_sets import batches_with_progress
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import CALIBRATORS, Ranges, collect_ranges
from ctonnx_export.quantization.qdq import Scheme, quantize, quantized_tensors
from ctonnx_export.quantization.search import scheme_search as module
from ctonnx_export.quantization.search.scheme_search import search
from ctonnx_export.trial import ComparisonSet, Trial, judge, try_model

LOOSE = Gate(max_dp=1.0, min_agreement=0.5)
BROKEN = BrokenBound("min_agreement", 1.0, "agreement is 98.00%, at least 99.00% is required")


@pytest.fixture(scope="module")
def ranges(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> Ranges:
    return collect_ranges(small_model, quantized_tensors(small_model), [scans[:8]])


@pytest.fixture(scope="module")
def correction(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> BiasCorrection:
    return BiasCorrection(small_model, image_set(scans[:8], np.zeros(8, np.int64)))


def test_every_calibrator_is_tried_with_integer_adds_only_if_one_passes(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    messages: list[str] = []
    found = search(small_model, ranges, correction, compared, LOOSE, log=messages.append)
    tried = [(trial.scheme["residual_adds"] == "integer", trial.scheme["calibrator"]) for trial in found.trials]
    assert tried == [(True, calibrator) for calibrator in CALIBRATORS]
    assert messages[0] == "int8: searching for a model with agreement 50 % or more"
    assert len(messages) == 7
    assert messages[1].startswith("int8, 1 of 6: minmax, integer adds: agreement 100.00%, mean |dp| 0.000")
    assert [line.partition(": passes")[2] for line in messages[1:]] == [*["; about 5 s left"] * 5, ""]


class Clock:
    """A clock on which a trial takes ten seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_each_line_lists_the_broken_bounds_and_the_remaining_time(
    small_model: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, tries = Clock(), itertools.count(1)
    trial = try_model(small_model, compared, LOOSE)
    heatmaps = BrokenBound("min_heatmap_correlation", 1.0, "the heatmaps' median correlation is 0.9, at least 0.98 is")

    def fail_the_first_thirteen(*arguments: Any) -> Trial:
        clock.now += 10
        return replace(trial, broken=(BROKEN, heatmaps)) if next(tries) <= 13 else trial

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "judge", fail_the_first_thirteen)
    messages: list[str] = []
    search(small_model, ranges, correction, compared, LOOSE, log=messages.append)
    rejected = ": rejected: agreement is 98.00%, at least 99.00% is required; " + heatmaps.phrase
    tried = [line for line in messages if " of " in line and ", mean |dp| " in line]
    assert [rejected in line for line in tried] == [True] * 13 + [False]
    left = [line.rpartition("; ")[2] for line in tried[:5]]
    assert left == [f"about {time} left, more if none passes" for time in ("50 s", "40 s", "30 s", "20 s", "10 s")]
    assert tried[5].endswith(rejected)
    assert tried[12].endswith(f"{rejected}; at most 50 s left")
    assert tried[13].endswith(": passes")


def test_float_adds_are_tried_if_no_integer_adds_pass_and_one_that_passes_is_selected(
    small_model: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = itertools.count(1)

    def fail_the_first_six(*arguments: Any) -> Trial:
        trial = judge(*arguments)
        return replace(trial, broken=(BROKEN,)) if next(tries) <= len(CALIBRATORS) else trial

    monkeypatch.setattr(module, "judge", fail_the_first_six)
    found = search(small_model, ranges, correction, compared, LOOSE)
    tried = [(trial.scheme["residual_adds"] == "integer", trial.scheme["calibrator"]) for trial in found.trials]
    assert tried == [(adds, calibrator) for adds in (True, False) for calibrator in CALIBRATORS]
    assert (found.scheme.integer_adds, found.scheme.excluded) == (False, ())


def test_the_best_candidate_that_passes_is_selected(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    found = search(small_model, ranges, correction, compared, LOOSE)
    best = min(found.trials, key=lambda trial: trial.parity.mean_dp)
    assert found.scheme.as_dict() == best.scheme
    parity = compare(compared.reference, run_onnx(found.model, batches_with_progress("", *compared.parts)))
    assert parity == best.parity


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


def test_start_of_a_fine_tuning_is_chosen_by_calibration_images_alone(
    small_model: onnx.ModelProto,
    scans: NDArray[np.uint8],
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
) -> None:
    found = search(small_model, ranges, correction, compared, Gate(max_dp=-1.0, min_agreement=0.5))
    reference = run_onnx(small_model, [scans[:8]]).logits
    errors = {}
    for calibrator in CALIBRATORS:
        model = quantize(small_model, ranges, Scheme(calibrator=calibrator))
        left = correction.apply(model)
        errors[calibrator] = np.abs(run_onnx(model, [scans[:8]]).logits - reference).mean()
        assert left == pytest.approx(errors[calibrator], rel=1e-3)
    assert found.start == Scheme(calibrator=min(errors, key=lambda name: errors[name]))
    assert found.scheme != found.start  # a gate that nothing passes: layers in float
    other = image_set(255 - scans[6:], compared.labels[6:])
    reference_of_others = run_onnx(small_model, [scans[:6], 255 - scans[6:]])
    others = replace(compared, parts=(compared.parts[0], other), reference=reference_of_others)
    assert search(small_model, ranges, correction, others, LOOSE).start == found.start


def test_target_reaches_the_scheme(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    assert search(small_model, ranges, correction, compared, LOOSE, target="arm").scheme.target == "arm"


def test_layers_return_to_float_one_by_one_until_the_gate_passes(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    plain = search(small_model, ranges, correction, compared, LOOSE)
    least = min(trial.parity.max_dp for trial in plain.trials)
    found = search(small_model, ranges, correction, compared, Gate(max_dp=least * 0.8, min_agreement=0.5))
    excluded = [len(trial.scheme["layers_in_float"]) for trial in found.trials]
    assert excluded[:12] == [0] * 12
    assert excluded[12:] == list(range(1, len(excluded) - 11))
    assert len(excluded) > 12
    last = found.trials[-1]
    assert not last.failures
    assert found.scheme.as_dict() == last.scheme
    assert all(trial.failures for trial in found.trials[:-1])


def test_layers_are_ranked_on_calibration_images_which_are_never_compared(
    small_model: onnx.ModelProto,
    scans: NDArray[np.uint8],
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranked = []

    def rank(model: onnx.ModelProto, ranges: Ranges, scheme: Scheme, pixels: NDArray[np.uint8], **of: Any) -> Any:
        ranked.append(pixels)
        return ("node_a1",)

    monkeypatch.setattr(module, "rank_by_sensitivity", rank)
    search(small_model, ranges, correction, compared, Gate(max_dp=-1.0, min_agreement=0.5))
    assert ranked
    for pixels in ranked:
        np.testing.assert_array_equal(pixels, scans[:8])


def test_gate_that_cannot_be_passed_leaves_the_best_one_with_its_failures(
    small_model: onnx.ModelProto, ranges: Ranges, correction: BiasCorrection, compared: ComparisonSet
) -> None:
    found = search(small_model, ranges, correction, compared, Gate(max_dp=-1.0, min_agreement=0.5))
    assert len(found.trials) == 12 + 6  # each of the six convolutions
    chosen = next(trial for trial in found.trials if trial.scheme == found.scheme.as_dict())
    assert chosen.score == max(trial.score for trial in found.trials)
    assert chosen.failures[0].startswith("max |dp| is ")


def test_number_of_layers_that_return_to_float_is_bounded(
    small_model: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module._MOST_EXCLUDED == 16
    monkeypatch.setattr(module, "_MOST_EXCLUDED", 2)
    found = search(small_model, ranges, correction, compared, Gate(max_dp=-1.0, min_agreement=0.5))
    assert [len(trial.scheme["layers_in_float"]) for trial in found.trials[12:]] == [1, 2]
