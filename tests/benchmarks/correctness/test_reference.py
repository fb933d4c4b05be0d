"""Outputs before the timing: the choice of the reference, the golden inputs, and verdicts with a wrong reference."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ctonnx.artifacts.golden import Golden, load_golden, save_golden
from ctonnx.errors import ModelError
from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.case import Case
from ctonnx_bench.cases.contenders import Contender, read_models, run_of
from ctonnx_bench.cases.images import CheckImages, golden_images
from ctonnx_bench.correctness.judgement import Verdict, judge
from ctonnx_bench.correctness.reference import (
    Reference,
    check_golden,
    decide_verdict,
    find_reference,
    reference_is_wrong,
    with_own_golden,
)
from ctonnx_bench.measurement.rounds import Bench


def contender(title: str, adapter: str, precision: str) -> Case:
    return Case(Contender(title, adapter, Path(f"{precision}.onnx"), precision, 1), 1, "cpu", 1)


FP32, INT8 = contender("ctonnx FP32", "ctonnx", "fp32"), contender("ctonnx INT8", "ctonnx", "int8")
PEER = contender("PyTorch eager", "pytorch", "fp32")
IMAGES = CheckImages("some", np.zeros((4, 8, 8, 3), np.uint8), np.full(4, -1))


def outputs_of(first: float) -> Outputs:
    rows = np.tile(np.array([first, 1 - first], np.float32), (4, 1))
    return Outputs(rows, np.log(rows), np.tile(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2), (4, 2, 1, 1)))


def verdict_on(case: Case, outputs: Outputs, golden: dict[Case, tuple[str, ...]]) -> Verdict:
    reference = Reference("ctonnx FP32", outputs_of(0.9), (FP32,))
    return decide_verdict(case, judge(case.contender, outputs, reference.outputs, IMAGES, None), reference, golden)


def test_reference_is_right_by_the_golden_inputs_and_is_called_reference_without_them() -> None:
    assert verdict_on(FP32, outputs_of(0.9), {FP32: ()}).state == "right"
    assert verdict_on(FP32, outputs_of(0.9), {}).state == "reference"
    assert verdict_on(PEER, outputs_of(0.9), {FP32: ()}).state == "right"
    assert verdict_on(PEER, outputs_of(0.9), {}).state == "reference"  # another contender with the same file
    assert verdict_on(INT8, outputs_of(0.9), {}).state == "right"
    assert verdict_on(INT8, outputs_of(0.2), {}).state == "wrong"


def test_outputs_that_the_images_do_not_show_to_be_right_are_not_called_right() -> None:
    judgement = replace(judge(INT8.contender, outputs_of(0.9), outputs_of(0.9), IMAGES, None), not_shown=("98.84 %",))
    reference = Reference("ctonnx FP32", outputs_of(0.9), (FP32,))
    found = decide_verdict(INT8, judgement, reference, {INT8: ()})
    assert (found.state, found.failures, found.not_shown) == ("not shown", (), ("98.84 %",))
    wrong = decide_verdict(INT8, judgement, reference, {INT8: ("on the golden inputs, agreement is 0",)})
    assert wrong.state == "wrong"
    blind = decide_verdict(INT8, judgement, reference, {FP32: ("on the golden inputs, max |dp| is 1",), INT8: ()})
    assert (blind.state, blind.not_shown) == ("right", ())  # by the golden inputs only


def test_wrong_reference_fails_only_its_own_case() -> None:
    golden: dict[Case, tuple[str, ...]] = {FP32: ("on the golden inputs, max |dp| is 1",), INT8: ()}
    assert reference_is_wrong(Reference("", outputs_of(0.9), (FP32,)), golden)
    assert verdict_on(FP32, outputs_of(0.9), golden).failures == ("on the golden inputs, max |dp| is 1",)
    int8, peer = verdict_on(INT8, outputs_of(0.2), golden), verdict_on(PEER, outputs_of(0.2), golden)
    assert (int8.state, int8.failures, int8.parity.agreement) == ("right", (), 0.0)
    assert (peer.state, peer.failures) == ("unjudged", ())


def test_wrong_int8_is_found_on_the_golden_inputs_too() -> None:
    golden: dict[Case, tuple[str, ...]] = {FP32: (), INT8: ("on the golden inputs, agreement is 0",)}
    assert verdict_on(INT8, outputs_of(0.9), golden).failures == ("on the golden inputs, agreement is 0",)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Bench:
    """Bench whose cases return the golden outputs of PyTorch."""

    def outputs(self: Bench, case: Case, others: CheckImages | None = None) -> Outputs:
        assert others is not None
        assert others.golden is not None
        return others.golden.outputs

    monkeypatch.setattr(Bench, "outputs", outputs)
    return Bench(workspace, IMAGES, {}, {})


@pytest.fixture
def case_of() -> Callable[[Path, str], Case]:
    return lambda model, adapter: Case(Contender("some", adapter, model.resolve(), "fp32", 1), 1, "cpu", 1)


def test_golden_inputs_beside_a_model_are_checked_for_ctonnx_only(bench: Bench, case_of: Callable[..., Case]) -> None:
    models, messages = read_models([]), list[str]()
    own, peer = case_of(models[0].path, "ctonnx"), case_of(models[0].path, "onnxruntime")
    assert check_golden(bench, [own, peer, own], models, messages.append) == {own: ()}
    assert messages == ["computing outputs for the golden inputs: some, batch 1"]
    (models[0].path.parent / "golden.npz").unlink()
    assert check_golden(bench, [own], models, messages.append) == {}


def test_each_export_is_compared_with_its_own_golden_outputs(workspace: Path) -> None:
    """The outputs of two exports of one run, with other calibration images, may differ."""
    shutil.copytree("runs/tiny/export", "other")
    golden = load_golden(Path("other/golden.npz"))
    moved = replace(golden.outputs, probabilities=golden.outputs.probabilities[::-1])
    save_golden(Path("other/golden.npz"), replace(golden, model_outputs={"fp32": moved}))
    models = read_models([Path("runs/tiny"), Path("other")])
    images = golden_images(models[0])
    first, second = (Contender("some", "ctonnx", model.path.resolve(), "fp32", 1) for model in models)
    assert with_own_golden(first, images, models) is images
    found = with_own_golden(second, images, models).golden
    assert found is not None
    np.testing.assert_array_equal(found.model_outputs["fp32"].probabilities, moved.probabilities)
    save_golden(Path("other/golden.npz"), replace(golden, pixels=255 - golden.pixels))
    assert with_own_golden(second, images, models).golden is None  # golden outputs for other images
    Path("other/golden.npz").unlink()
    assert with_own_golden(second, images, models).golden is None


@pytest.mark.parametrize(
    ("provider", "expected"), [("cpu", "cpu"), ("openvino", "cpu"), ("tensorrt", "cpu"), ("cuda", "cuda")]
)
def test_pytorch_computes_the_reference_on_a_provider_that_it_has(
    provider: str, expected: str, workspace: Path, case_of: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Case] = []

    def outputs(self: Bench, case: Case, others: CheckImages | None = None) -> Outputs:
        ran.append(case)
        return outputs_of(0.9)

    monkeypatch.setattr(Bench, "outputs", outputs)
    models = read_models([])
    first = replace(case_of(models[0].path, "ctonnx"), provider=provider)
    bench, run = Bench(workspace, IMAGES, {}, {}), run_of(models, None)
    found = find_reference(bench, {first: outputs_of(0.9)}, IMAGES, models, run, print)
    assert found.about == "PyTorch, computed here"
    assert [(case.contender.adapter, case.provider) for case in ran] == [("pytorch", expected)]


def test_golden_inputs_of_another_checkpoint_are_rejected(bench: Bench, case_of: Callable[..., Case]) -> None:
    models = read_models([])
    file = models[0].path.parent / "golden.npz"
    golden = load_golden(file)
    save_golden(file, Golden(golden.pixels, golden.outputs, "0" * 64))
    with pytest.raises(ModelError, match="expected golden inputs of checkpoint"):
        check_golden(bench, [case_of(models[0].path, "ctonnx")], models, print)
