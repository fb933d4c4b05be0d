"""Verdicts by the comparison with a reference: right, wrong, or not shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.conftest import INT8

from ctonnx.artifacts.golden import Golden
from ctonnx.inference.providers import Provider
from ctonnx.parity.acceptance_gates import Gate
from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.contenders import read_models
from ctonnx_bench.cases.images import CheckImages
from ctonnx_bench.correctness.judgement import altered, judge


def outputs(*right: bool, certainty: float = 0.9) -> Outputs:
    """Outputs of two classes; the first one is right."""
    pairs = [[certainty, 1 - certainty] if found else [1 - certainty, certainty] for found in right]
    rows = np.array(pairs, np.float32)
    maps = np.tile(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2), (len(right), 2, 1, 1))
    return Outputs(rows, np.log(rows), maps)


def images(count: int, *, labelled: bool = False, golden: Golden | None = None) -> CheckImages:
    pixels = np.zeros((count, 8, 8, 3), np.uint8)
    return CheckImages("some", pixels, np.full(count, 0 if labelled else -1), golden=golden)


def test_outputs_that_agree_are_right() -> None:
    verdict = judge(INT8, outputs(True, True), outputs(True, True), images(2), None)
    assert (verdict.state, verdict.failures) == ("right", ())
    assert verdict.accuracy is None
    assert verdict.parity.agreement == 1


@pytest.mark.parametrize(("provider", "failures"), [("cpu", 1), ("webgpu", 1), ("openvino:npu", 0), ("qnn", 0)])
def test_provider_that_computes_fp32_in_fp16_has_its_gate(provider: Provider, failures: int) -> None:
    """The gate of FP32 that the model was shipped with is for the model as it is."""
    near, gate = outputs(*[True] * 4, certainty=0.899), Gate(max_dp=1e-4, min_agreement=0.0)
    fp32 = replace(INT8, precision="fp32")
    verdict = judge(fp32, near, outputs(*[True] * 4), images(4), gate, provider=provider)
    assert len(verdict.failures) == failures
    far = outputs(*[True] * 4, certainty=0.89)
    assert judge(fp32, far, outputs(*[True] * 4), images(4), gate, provider=provider).failures
    peer = replace(fp32, adapter="onnxruntime")
    assert judge(peer, near, outputs(*[True] * 4), images(4), gate, provider=provider).failures


@pytest.mark.parametrize(("moved", "state"), [(1, "right"), (2, "not shown"), (20, "wrong")])
def test_images_flagged_otherwise_make_outputs_wrong_only_if_there_are_enough(moved: int, state: str) -> None:
    same = outputs(*[True] * 72)
    novelty = np.linspace(0.5, 2.0, 72, dtype=np.float32)
    other = novelty.copy()
    near = np.searchsorted(novelty, 1.0)
    other[near - moved : near] = 1 + np.arange(moved) * 1e-3
    gate = Gate(max_dp=1.0, min_agreement=0.0, min_novelty_agreement=0.98)
    reference, found = (replace(same, novelty=values) for values in (novelty, other))
    verdict = judge(INT8, found, reference, images(72), gate, novelty_threshold=0.9999)
    assert (verdict.state, verdict.parity.novelty_agreement) == (state, 1 - moved / 72)
    assert judge(INT8, found, reference, images(72), gate).parity.novelty_agreement is None


def judged(images_: int, wrong: int, *, own: bool = True, gate: Gate | None = None) -> tuple[bool, bool]:
    """Returns whether a number of disagreements is a failure, and whether it is not shown."""
    contender = INT8 if own else replace(INT8, adapter="openvino-int8")
    found = outputs(*[False] * wrong, *[True] * (images_ - wrong))
    verdict = judge(contender, found, outputs(*[True] * images_), images(images_), gate)
    return bool(verdict.failures), bool(verdict.not_shown)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("images_", "right", "not_shown"),
    [
        (8, 0, 0),  # one of eight: the whole interval, 53 to 98 %, is below 99 %
        (20, 0, 1),  # 76 to 99.1 %
        (72, 0, 2),
        (99, 0, 2),
        (100, 1, 2),
        (259, 2, 5),  # 98.84 % is below 99 %
        (280, 2, 6),
        (1000, 10, 16),
    ],
)
def test_agreement_reaches_its_bound_or_is_not_shown_or_is_wrong(
    images_: int, right: int, not_shown: int, own: bool
) -> None:
    states = [judged(images_, wrong, own=own) for wrong in range(not_shown + 2)]
    assert states == [
        *[(False, False)] * (right + 1),
        *[(False, True)] * (not_shown - right),
        (True, False),
    ]


def test_bounds_that_are_not_shown_or_broken_name_the_measured_value() -> None:
    reference = outputs(*[True] * 259)
    found = judge(INT8, outputs(*[False] * 3, *[True] * 256), reference, images(259), None)
    assert found.failures == ()
    assert found.not_shown == (
        "agreement is 98.84%, at least 99.00% is required, which its 95 % interval, 96.65% to 99.61%, includes: 259 "
        "images do not show which it is",
    )
    assert found.state == "not shown"
    assert found.gate.min_agreement == 0.99
    wrong = judge(INT8, outputs(*[False] * 9, *[True] * 250), reference, images(259), None)
    assert (wrong.failures, wrong.not_shown) == (("agreement is 96.53%, at least 99.00% is required",), ())


def test_gate_that_the_model_was_shipped_with_is_used() -> None:
    loose = Gate(max_dp=1.0, min_agreement=0.5)
    assert judge(INT8, outputs(False, True), outputs(True, True), images(2), loose).failures == ()


def test_accuracy_has_its_interval_and_the_change() -> None:
    verdict = judge(INT8, outputs(*[True] * 9, False), outputs(*[True] * 10), images(10, labelled=True), None)
    assert verdict.accuracy is not None
    assert verdict.accuracy["value"] == 0.9
    assert (round(verdict.accuracy["low"], 3), round(verdict.accuracy["high"], 3)) == (0.596, 0.982)
    assert verdict.accuracy["change"]["difference"] == -0.1


def test_certain_loss_of_accuracy_is_a_failure() -> None:
    loose = Gate(max_dp=1.0, min_agreement=0.0, max_drop=0.005)
    half = outputs(*[True] * 50, *[False] * 50)
    (failure,) = judge(INT8, half, outputs(*[True] * 100), images(100, labelled=True), loose).failures
    assert failure == "accuracy falls by 50.00 points, at most 0.5 are allowed"


def test_loss_of_accuracy_that_may_be_chance_is_not_shown() -> None:
    loose = Gate(max_dp=1.0, min_agreement=0.0, max_drop=0.005)
    reference = outputs(*[True] * 72)
    found = judge(INT8, outputs(False, *[True] * 71), reference, images(72, labelled=True), loose)
    assert found.failures == ()
    (bound,) = found.not_shown
    assert bound.startswith(
        "accuracy falls by 1.39 points, at most 0.5 are allowed, which its 95 % interval, a loss of "
    )


def test_outputs_are_compared_with_the_models_own_golden_outputs() -> None:
    golden = Golden(np.zeros((2, 8, 8, 3), np.uint8), outputs(True, True), "0" * 64, {"int8": outputs(True, True)})
    found = outputs(True, True, certainty=0.8)
    (failure,) = judge(INT8, found, golden.outputs, images(2, golden=golden), None).failures
    assert failure == "compared with its own outputs at export, max |dp| is 0.1, at most 0.05 is allowed"


def test_disagreement_that_the_export_had_too_is_not_a_failure_of_this_device() -> None:
    off = outputs(False, False)
    golden = Golden(np.zeros((2, 8, 8, 3), np.uint8), outputs(True, True), "0" * 64, {"int8": off})
    found = judge(INT8, off, golden.outputs, images(2, golden=golden), None)
    assert found.failures == ()
    assert found.not_shown == (
        "agreement is 0.00%, at least 99.00% is required; the export measured the same on these few images, and passed "
        "its gate on more images",
    )
    half = replace(golden, model_outputs={"int8": outputs(True, False)})
    assert judge(INT8, off, golden.outputs, images(2, golden=half), None).failures[0] == (
        "agreement is 0.00%, at least 99.00% is required"  # one more than at export
    )
    peer = replace(INT8, adapter="openvino-int8")
    assert judge(peer, off, golden.outputs, images(2, golden=golden), None).failures


def test_altered_file_is_found_by_its_hash(workspace: Path) -> None:
    (model,) = read_models([])
    assert altered(model) is None
    found = altered(replace(model, sha256="0" * 64))
    assert found is not None
    hashes = f"its SHA-256 is 000000000000, that of the exported one {model.sha256[:12]}: "
    assert found.startswith(f"{hashes}it was altered since")
    (model.path.parent / "golden.npz").unlink()
    assert altered(replace(model, sha256="0" * 64)) is None
