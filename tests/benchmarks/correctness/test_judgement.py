"""The checks: whose answers count as right, and which others are wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ctonnx.artifacts.golden import Golden
from ctonnx.errors import CtonnxError, DataError, ModelError
from ctonnx.parity.gates import Gate
from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.contenders import Contender, read_models
from ctonnx_bench.cases.images import CheckImages, golden_images, images_in, labelled_images
from ctonnx_bench.correctness.judgement import altered, judge

INT8 = Contender("ctonnx INT8", "ctonnx", Path("m.onnx"), "int8", 1)


def answers(*right: bool, certainty: float = 0.9) -> Outputs:
    """Answers of two classes, the first one where it is right."""
    pairs = [[certainty, 1 - certainty] if found else [1 - certainty, certainty] for found in right]
    rows = np.array(pairs, np.float32)
    maps = np.tile(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2), (len(right), 2, 1, 1))
    return Outputs(rows, np.log(rows), maps)


def images(count: int, *, labelled: bool = False, golden: Golden | None = None) -> CheckImages:
    pixels = np.zeros((count, 8, 8, 3), np.uint8)
    return CheckImages("some", pixels, np.full(count, 0 if labelled else -1), golden=golden)


def test_answers_that_agree_are_right() -> None:
    judgement = judge(INT8, answers(True, True), answers(True, True), images(2), None)
    assert judgement.failures == ()
    assert judgement.accuracy is None
    assert judgement.parity.agreement == 1


def judged(images_: int, wrong: int, *, own: bool = True, gate: Gate | None = None) -> tuple[bool, bool]:
    """Returns whether so many disagreements are a failure, and whether nothing is shown by them."""
    who = INT8 if own else replace(INT8, adapter="openvino-int8")
    given = answers(*[False] * wrong, *[True] * (images_ - wrong))
    judgement = judge(who, given, answers(*[True] * images_), images(images_), gate)
    return bool(judgement.failures), bool(judgement.not_shown)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("images_", "right", "not_shown"),
    [
        (8, 0, 0),  # one of eight: the whole interval, 53 to 98 %, lies below 99 %
        (20, 0, 1),  # 76 to 99.1 %
        (72, 0, 2),
        (99, 0, 2),
        (100, 1, 2),
        (259, 2, 5),  # 98.84 % is no 99 %
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


def test_what_is_not_shown_and_what_is_wrong_says_what_was_found() -> None:
    reference = answers(*[True] * 259)
    found = judge(INT8, answers(*[False] * 3, *[True] * 256), reference, images(259), None)
    assert found.failures == ()
    assert found.not_shown == (
        "agreement is 98.84%, at least 99.00% is required, which its 95 % interval, 96.65% to 99.61%, reaches: 259 "
        "images do not show which it is",
    )
    assert found.bounds["min_agreement"] == 0.99
    wrong = judge(INT8, answers(*[False] * 9, *[True] * 250), reference, images(259), None)
    assert (wrong.failures, wrong.not_shown) == (("agreement is 96.53%, at least 99.00% is required",), ())


def test_gate_that_the_model_was_shipped_with_counts() -> None:
    loose = Gate(max_dp=1.0, min_agreement=0.5)
    assert judge(INT8, answers(False, True), answers(True, True), images(2), loose).failures == ()


def test_accuracy_has_its_interval_and_the_change() -> None:
    judgement = judge(INT8, answers(*[True] * 9, False), answers(*[True] * 10), images(10, labelled=True), None)
    assert judgement.accuracy is not None
    assert judgement.accuracy["value"] == 0.9
    assert (round(judgement.accuracy["low"], 3), round(judgement.accuracy["high"], 3)) == (0.596, 0.982)
    assert judgement.accuracy["change"]["difference"] == -0.1


def test_loss_of_accuracy_beyond_doubt_is_a_failure() -> None:
    loose = Gate(max_dp=1.0, min_agreement=0.0, max_drop=0.005)
    half = answers(*[True] * 50, *[False] * 50)
    (failure,) = judge(INT8, half, answers(*[True] * 100), images(100, labelled=True), loose).failures
    assert failure == "accuracy falls by 50.00 points, at most 0.5 are allowed"


def test_loss_of_accuracy_that_may_be_chance_is_not_shown() -> None:
    loose = Gate(max_dp=1.0, min_agreement=0.0, max_drop=0.005)
    given = answers(False, *[True] * 71)
    found = judge(INT8, given, answers(*[True] * 72), images(72, labelled=True), loose)
    assert found.failures == ()
    (doubt,) = found.not_shown
    assert doubt.startswith(
        "accuracy falls by 1.39 points, at most 0.5 are allowed, which its 95 % interval, a loss of "
    )


def test_golden_answers_of_the_model_itself_are_kept_to() -> None:
    golden = Golden(np.zeros((2, 8, 8, 3), np.uint8), answers(True, True), "0" * 64, {"int8": answers(True, True)})
    given = answers(True, True, certainty=0.8)
    (failure,) = judge(INT8, given, golden.outputs, images(2, golden=golden), None).failures
    assert failure == "against its own answers where it was exported, max |dp| is 0.1, at most 0.05 is allowed"


def test_few_golden_images_that_never_agreed_are_not_blamed_on_this_device() -> None:
    off = answers(False, False)
    golden = Golden(np.zeros((2, 8, 8, 3), np.uint8), answers(True, True), "0" * 64, {"int8": off})
    found = judge(INT8, off, golden.outputs, images(2, golden=golden), None)
    assert found.failures == ()
    assert found.not_shown == (
        "agreement is 0.00%, at least 99.00% is required; on these few images it was so where it was exported too, by "
        "which its gate was passed on more",
    )
    half = replace(golden, model_outputs={"int8": answers(True, False)})
    assert judge(INT8, off, golden.outputs, images(2, golden=half), None).failures[0] == (
        "agreement is 0.00%, at least 99.00% is required"  # one more than there
    )
    peer = replace(INT8, adapter="openvino-int8")
    assert judge(peer, off, golden.outputs, images(2, golden=golden), None).failures


def test_golden_inputs_must_be_there_and_of_the_model(workspace: Path) -> None:
    (model,) = read_models([])
    found = golden_images(model)
    assert (len(found), found.labels.tolist()) == (len(found.pixels), [-1] * len(found))
    with pytest.raises(ModelError, match="expected golden inputs of checkpoint 000000000000 at 64 pixels, found"):
        golden_images(replace(model, spec=replace(model.spec, checkpoint_sha256="0" * 64)))
    (model.path.parent / "golden.npz").unlink()
    with pytest.raises(ModelError, match=r"found none; copy golden.npz .* or name labelled images with --data DIR"):
        golden_images(model)


def test_file_that_was_altered_is_told_by_its_hash(workspace: Path) -> None:
    (model,) = read_models([])
    assert altered(model) is None
    found = altered(replace(model, sha256="0" * 64))
    assert found is not None
    hashes = f"its SHA-256 is 000000000000, that of the exported one {model.sha256[:12]}: "
    assert found.startswith(f"{hashes}it was altered since")
    (model.path.parent / "golden.npz").unlink()
    assert altered(replace(model, sha256="0" * 64)) is None


def test_data_sets_test_images_are_taken_and_training_images_calibrate(phantoms: Path, workspace: Path) -> None:
    (model,) = read_models([])
    found = labelled_images(phantoms, model, calibrate=5)
    assert found.about == f"{len(found)} labelled images (test) of {phantoms}"
    assert set(found.labels.tolist()) == {0, 1, 2, 3}
    assert found.pixels.shape == (len(found), 64, 64, 3)
    assert found.calibration is not None
    assert found.calibration.shape == (5, 64, 64, 3)
    assert labelled_images(phantoms, model).calibration is None
    assert found.cautions == ()
    leaky = replace(model, spec=replace(model.spec, data={**model.spec.data, "leaks": {"leaked": {"test": 1}}}))
    (caution,) = labelled_images(phantoms, leaky).cautions
    assert caution.startswith("accuracy: of the data that the model was trained on, 1 of ")


def test_files_are_found_and_unreadable_ones_named(phantoms: Path, workspace: Path) -> None:
    (model,) = read_models([])
    found = images_in(str(phantoms / "test"), model)
    assert len(found.files) == len(found)
    assert all(Path(file).is_absolute() for file in found.files)
    Path("scans").mkdir()
    Path("scans/a.png").write_bytes(Path(found.files[0]).read_bytes())
    Path("scans/b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"expected 2 readable images, found 1 that cannot be read: scans/b.png"):
        images_in("scans", model)
    Path("empty").mkdir()
    with pytest.raises(CtonnxError, match="expected images in 'empty', found an empty folder"):
        images_in("empty", model)
