"""The answers before the clock runs: whose count as right, and who is not blamed for a reference that is wrong."""

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
from ctonnx_bench.correctness.judgement import judge
from ctonnx_bench.correctness.reference import (
    Reference,
    Settled,
    check_golden,
    find_reference,
    reference_is_wrong,
    settle,
    with_own_answers,
)
from ctonnx_bench.measurement.rounds import Bench


def contender(title: str, adapter: str, precision: str) -> Case:
    return Case(Contender(title, adapter, Path(f"{precision}.onnx"), precision, 1), 1, "cpu", 1)


FP32, INT8 = contender("ctonnx FP32", "ctonnx", "fp32"), contender("ctonnx INT8", "ctonnx", "int8")
PEER = contender("PyTorch eager", "pytorch", "fp32")
IMAGES = CheckImages("some", np.zeros((4, 8, 8, 3), np.uint8), np.full(4, -1))


def answers(first: float) -> Outputs:
    rows = np.tile(np.array([first, 1 - first], np.float32), (4, 1))
    return Outputs(rows, np.log(rows), np.tile(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2), (4, 2, 1, 1)))


def settled(case: Case, outputs: Outputs, golden: dict[Case, tuple[str, ...]]) -> Settled:
    reference = Reference("ctonnx FP32", answers(0.9), (FP32,))
    return settle(case, judge(case.contender, outputs, reference.outputs, IMAGES, None), reference, golden)


def test_reference_that_the_golden_inputs_prove_is_right_and_without_them_is_the_reference() -> None:
    assert settled(FP32, answers(0.9), {FP32: ()}).verdict == "right"
    assert settled(FP32, answers(0.9), {}).verdict == "reference"
    assert settled(PEER, answers(0.9), {FP32: ()}).verdict == "right"
    assert settled(PEER, answers(0.9), {}).verdict == "reference"  # another's answers from the same file
    assert settled(INT8, answers(0.9), {}).verdict == "right"
    assert settled(INT8, answers(0.2), {}).verdict == "wrong"


def test_answers_that_their_images_do_not_show_to_be_right_are_not_called_so() -> None:
    judgement = replace(judge(INT8.contender, answers(0.9), answers(0.9), IMAGES, None), not_shown=("98.84 %",))
    reference = Reference("ctonnx FP32", answers(0.9), (FP32,))
    found = settle(INT8, judgement, reference, {INT8: ()})
    assert (found.verdict, found.failures, found.not_shown) == ("not shown", (), ("98.84 %",))
    wrong = settle(INT8, judgement, reference, {INT8: ("on the golden inputs, agreement is 0",)})
    assert wrong.verdict == "wrong"
    blind = settle(INT8, judgement, reference, {FP32: ("on the golden inputs, max |dp| is 1",), INT8: ()})
    assert (blind.verdict, blind.not_shown) == ("right", ())  # by the golden inputs alone


def test_wrong_reference_blames_nobody_but_itself() -> None:
    golden: dict[Case, tuple[str, ...]] = {FP32: ("on the golden inputs, max |dp| is 1",), INT8: ()}
    assert reference_is_wrong(Reference("", answers(0.9), (FP32,)), golden)
    assert settled(FP32, answers(0.9), golden).failures == ("on the golden inputs, max |dp| is 1",)
    int8, peer = settled(INT8, answers(0.2), golden), settled(PEER, answers(0.2), golden)
    assert (int8.verdict, int8.failures, int8.parity.agreement) == ("right", (), 0.0)
    assert (peer.verdict, peer.failures) == ("unjudged", ())


def test_wrong_int8_is_found_on_the_golden_inputs_too() -> None:
    golden: dict[Case, tuple[str, ...]] = {FP32: (), INT8: ("on the golden inputs, agreement is 0",)}
    assert settled(INT8, answers(0.9), golden).failures == ("on the golden inputs, agreement is 0",)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Bench:
    """Whose cases answer for the golden inputs as PyTorch did."""

    def answer(self: Bench, case: Case, others: CheckImages | None = None) -> Outputs:
        assert others is not None
        assert others.golden is not None
        return others.golden.outputs

    monkeypatch.setattr(Bench, "answers", answer)
    return Bench(workspace, IMAGES, {}, {})


@pytest.fixture
def case_of() -> Callable[[Path, str], Case]:
    return lambda model, adapter: Case(Contender("some", adapter, model.resolve(), "fp32", 1), 1, "cpu", 1)


def test_golden_inputs_beside_a_model_are_asked_of_ctonnx_alone(bench: Bench, case_of: Callable[..., Case]) -> None:
    models, told = read_models([]), list[str]()
    own, peer = case_of(models[0].path, "ctonnx"), case_of(models[0].path, "onnxruntime")
    assert check_golden(bench, [own, peer, own], models, told.append) == {own: ()}
    assert told == ["answering for the golden inputs: some, batch 1"]
    (models[0].path.parent / "golden.npz").unlink()
    assert check_golden(bench, [own], models, told.append) == {}


def test_each_export_is_held_against_its_own_answers(workspace: Path) -> None:
    """Two exports of one run, calibrated otherwise, may each answer as it did and not as the other one did."""
    shutil.copytree("runs/tiny/export", "other")
    golden = load_golden(Path("other/golden.npz"))
    moved = replace(golden.outputs, probabilities=golden.outputs.probabilities[::-1])
    save_golden(Path("other/golden.npz"), replace(golden, model_outputs={"fp32": moved}))
    models = read_models([Path("runs/tiny"), Path("other")])
    images = golden_images(models[0])
    first, second = (Contender("some", "ctonnx", model.path.resolve(), "fp32", 1) for model in models)
    assert with_own_answers(first, images, models) is images
    found = with_own_answers(second, images, models).golden
    assert found is not None
    np.testing.assert_array_equal(found.model_outputs["fp32"].probabilities, moved.probabilities)
    save_golden(Path("other/golden.npz"), replace(golden, pixels=255 - golden.pixels))
    assert with_own_answers(second, images, models).golden is None  # which answered for other images
    Path("other/golden.npz").unlink()
    assert with_own_answers(second, images, models).golden is None


@pytest.mark.parametrize(
    ("provider", "place"), [("cpu", "cpu"), ("openvino", "cpu"), ("tensorrt", "cpu"), ("cuda", "cuda")]
)
def test_pytorch_answers_for_a_reference_where_it_can(
    provider: str, place: str, workspace: Path, case_of: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Case] = []

    def answer(self: Bench, case: Case, others: CheckImages | None = None) -> Outputs:
        asked.append(case)
        return answers(0.9)

    monkeypatch.setattr(Bench, "answers", answer)
    models = read_models([])
    first = replace(case_of(models[0].path, "ctonnx"), provider=provider)
    bench, run = Bench(workspace, IMAGES, {}, {}), run_of(models, None)
    found = find_reference(bench, {first: answers(0.9)}, IMAGES, models, run, print)
    assert found.about == "PyTorch, computed here"
    assert [(case.contender.adapter, case.provider) for case in asked] == [("pytorch", place)]


def test_golden_inputs_of_another_checkpoint_are_refused(bench: Bench, case_of: Callable[..., Case]) -> None:
    models = read_models([])
    file = models[0].path.parent / "golden.npz"
    golden = load_golden(file)
    save_golden(file, Golden(golden.pixels, golden.outputs, "0" * 64))
    with pytest.raises(ModelError, match="expected golden inputs of checkpoint"):
        check_golden(bench, [case_of(models[0].path, "ctonnx")], models, print)
