"""Images of an export: balanced, chosen by the seed; calibration and comparison have no pixels in common."""

import json
import shutil
import sys
from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.export.builders import image_set

from ctonnx.artifacts.report_schema import Precision
from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.images import load, to_pixels
from ctonnx_export import image_sets
from ctonnx_export.image_sets import (
    ImageSets,
    _calibration_images,
    _held_out_images,
    _validation_images,
    balanced,
    batches_with_progress,
    choose_images,
    golden_rows,
)
from ctonnx_train.data.splits import Sample
from ctonnx_train.runs.checkpoint import Checkpoint, load_checkpoint

SAMPLES = [Sample(f"{row:02}.png", int(row >= 15)) for row in range(20)]


@pytest.fixture(scope="module")
def checkpoint(trained_run: Run) -> Checkpoint:
    return load_checkpoint(trained_run)


def test_classes_have_equal_numbers_of_images_if_there_are_enough() -> None:
    chosen = balanced(SAMPLES, 8, seed=0)
    assert [sample.label for sample in chosen] == [0] * 4 + [1] * 4
    assert list(chosen) == sorted(chosen)


def test_all_images_of_a_rare_class_are_taken_and_the_others_fill_up() -> None:
    assert [sample.label for sample in balanced(SAMPLES, 14, seed=0)] == [0] * 9 + [1] * 5


def test_seed_chooses() -> None:
    assert balanced(SAMPLES, 8, seed=3) == balanced(SAMPLES, 8, seed=3)
    assert len({balanced(SAMPLES, 8, seed=seed) for seed in range(5)}) > 1


def test_all_are_taken_if_more_are_requested() -> None:
    assert balanced(SAMPLES, 99, seed=0) == tuple(SAMPLES)


def test_calibration_takes_training_images_in_the_predictors_pixels(checkpoint: Checkpoint, phantoms: Path) -> None:
    images = _calibration_images(checkpoint, phantoms, calibrate=None, count=6, avoid=frozenset())
    assert (len(images), images.missing) == (6, 0)
    assert set(images.samples) <= set(checkpoint.samples("train"))
    (pixels,) = images.batches()
    expected = [to_pixels(load(phantoms / sample.path), checkpoint.record.preprocessing) for sample in images.samples]
    np.testing.assert_array_equal(pixels, np.stack(expected))


def test_images_come_a_few_at_a_time(checkpoint: Checkpoint, phantoms: Path) -> None:
    images = _calibration_images(checkpoint, phantoms, calibrate=None, count=10, avoid=frozenset())
    assert [len(pixels) for pixels in images.batches(4)] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(list(images.batches(4))), images.pixels(range(10)))
    assert images.labels.tolist() == [sample.label for sample in images.samples]


def test_images_beyond_the_bound_are_decoded_again_and_the_same(
    checkpoint: Checkpoint, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _calibration_images(checkpoint, phantoms, calibrate=None, count=6, avoid=frozenset())
    monkeypatch.setattr("ctonnx_export.image_sets._IN_MEMORY", 2 * 64 * 64)
    bounded = _calibration_images(checkpoint, phantoms, calibrate=None, count=6, avoid=frozenset())
    assert (whole.store.kept, bounded.store.kept) == (6, 2)
    np.testing.assert_array_equal(bounded.pixels(range(6)), whole.pixels(range(6)))


def test_a_third_of_each_class_is_kept_for_the_comparison_and_missing_images_are_counted(
    checkpoint: Checkpoint, phantoms: Path
) -> None:
    assert len(checkpoint.samples("train")) == 16
    images = _calibration_images(checkpoint, phantoms, calibrate=None, count=300, avoid=frozenset())
    assert images.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3  # of 4 each
    assert images.missing == 288
    others = _held_out_images(checkpoint, phantoms, count=99, avoid=frozenset(), calibration=images)
    assert others is not None
    assert others.labels.tolist() == [0, 1, 2, 3]


def test_share_is_of_each_class_and_its_single_image_is_taken() -> None:
    samples = [Sample(f"{row}.png", int(row > 8)) for row in range(10)]
    assert [sample.label for sample in balanced(samples, 99, 0, Fraction(2, 3))] == [0] * 6 + [1]


def test_images_of_one_colour_are_counted_and_rejected_if_there_are_no_others(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    for row in range(3):
        Image.new("L", (64, 64), row * 60).save(tmp_path / f"{row}.png")
    with pytest.raises(
        DataError,
        match=r"found 3 that have one colour each; calibrate on images similar to those that the model will see$",
    ):
        _calibration_images(checkpoint, tmp_path, calibrate=tmp_path, count=9, avoid=frozenset())
    Image.effect_noise((64, 64), 40).save(tmp_path / "scan.png")
    images = _calibration_images(checkpoint, tmp_path, calibrate=tmp_path, count=9, avoid=frozenset())
    assert (len(images), images.count_blank()) == (4, 3)


def test_a_labels_file_names_the_calibration_images(checkpoint: Checkpoint, phantoms: Path, tmp_path: Path) -> None:
    shutil.copytree(phantoms / "train", tmp_path / "scans")
    files = sorted(file.relative_to(tmp_path).as_posix() for file in (tmp_path / "scans").rglob("*.png"))
    rows = [f"{file},{'ab'[row % 2]},{'test' if row < 4 else 'train'}" for row, file in enumerate(files)]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    images = _calibration_images(checkpoint, phantoms, calibrate=tmp_path, labels=labels, count=99, avoid=frozenset())
    assert [path for path, _ in images.samples] == files[4:]
    labels.write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    with pytest.raises(DataError, match="rows with another number of fields"):
        _calibration_images(checkpoint, phantoms, calibrate=tmp_path, labels=labels, count=9, avoid=frozenset())


def test_other_images_are_all_used_if_there_are_fewer_than_requested(checkpoint: Checkpoint, phantoms: Path) -> None:
    images = _calibration_images(checkpoint, phantoms, calibrate=phantoms / "test", count=20, avoid=frozenset())
    assert (len(images), images.missing) == (8, 12)


def test_copies_of_compared_images_are_not_calibrated_on(checkpoint: Checkpoint, phantoms: Path) -> None:
    known = checkpoint.digests_by_path("train")
    avoid = frozenset(list(known.values())[:3])
    others = _calibration_images(checkpoint, phantoms, calibrate=phantoms, count=99, avoid=avoid)
    assert len(others) == len(known) - 3
    own = _calibration_images(checkpoint, phantoms, calibrate=None, count=8, avoid=avoid)
    assert len(own) == 8
    assert not avoid & (others.digests | own.digests)


def test_held_out_images_are_training_images_that_calibration_does_not_use(
    checkpoint: Checkpoint, phantoms: Path
) -> None:
    validation = _validation_images(checkpoint, phantoms)
    calibration = _calibration_images(checkpoint, phantoms, calibrate=None, count=6, avoid=validation.digests)
    others = _held_out_images(checkpoint, phantoms, count=99, avoid=validation.digests, calibration=calibration)
    assert others is not None
    assert len(others) == len(checkpoint.samples("train")) - 6
    assert not others.digests & (validation.digests | calibration.digests)
    few = _held_out_images(checkpoint, phantoms, count=5, avoid=validation.digests, calibration=calibration)
    assert few is not None
    assert len(few) == 5


def test_no_image_is_held_out_if_calibration_uses_all(checkpoint: Checkpoint, phantoms: Path) -> None:
    assert _held_out_images(checkpoint, phantoms, count=9, avoid=checkpoint.digests("train")) is None


def test_missing_training_images_are_reported_with_the_option_to_name_them(
    checkpoint: Checkpoint, phantoms: Path, tmp_path: Path
) -> None:
    shutil.copytree(phantoms / "valid", tmp_path / "valid")
    with pytest.raises(DataError) as caught:
        _calibration_images(checkpoint, tmp_path, calibrate=None, count=4, avoid=frozenset())
    assert str(caught.value) == (
        f"expected the run's 16 training images in '{tmp_path}' for the calibration, found none of them; name the "
        "folder that contains them with --data, or similar images with --calibrate"
    )
    assert _held_out_images(checkpoint, tmp_path, count=9, avoid=frozenset()) is None


def test_training_images_of_another_dataset_are_used(checkpoint: Checkpoint, phantoms: Path, tmp_path: Path) -> None:
    images = _calibration_images(checkpoint, tmp_path / "gone", calibrate=phantoms, count=8, avoid=frozenset())
    assert len(images) == 8
    assert {sample.path.partition("/")[0] for sample in images.samples} == {"train"}
    assert sorted(images.labels.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_images_of_any_folder_are_used(checkpoint: Checkpoint, phantoms: Path, tmp_path: Path) -> None:
    for file in sorted((phantoms / "test").rglob("*.png")):
        shutil.copy(file, tmp_path / file.name)
    (tmp_path / "notes.txt").write_text("not an image")
    images = _calibration_images(checkpoint, tmp_path, calibrate=tmp_path, count=5, avoid=frozenset())
    assert len(images) == 5
    assert set(images.labels.tolist()) == {-1}


def test_validation_images_among_others_are_left_out(checkpoint: Checkpoint, phantoms: Path, tmp_path: Path) -> None:
    for split in ("valid", "test"):
        for file in sorted((phantoms / split).rglob("*.png")):
            shutil.copy(file, tmp_path / f"{split} {file.name}")
    avoid = _validation_images(checkpoint, phantoms).digests
    images = _calibration_images(checkpoint, tmp_path, calibrate=tmp_path, count=99, avoid=avoid)
    assert {sample.path.partition(" ")[0] for sample in images.samples} == {"test"}
    assert images.missing == 99 - len(images)
    with pytest.raises(DataError, match=r"found only those; calibrate on other images"):
        _calibration_images(checkpoint, phantoms, calibrate=phantoms / "valid", count=99, avoid=avoid)


def test_folder_without_images_is_rejected(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _calibration_images(checkpoint, tmp_path, calibrate=tmp_path, count=5, avoid=frozenset())
    assert str(caught.value) == (
        f"expected images to calibrate on in '{tmp_path}', found none; name a dataset or a folder of images"
    )


def test_images_that_were_changed_since_the_training_are_not_calibrated_on_and_held_out_too(
    checkpoint: Checkpoint, phantoms: Path, tmp_path: Path
) -> None:
    for file in phantoms.rglob("*.png"):
        changed = np.asarray(load(file)).copy()
        changed.flat[0] ^= 1
        copy = tmp_path / file.relative_to(phantoms)
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(changed).save(copy)
    calibration = _calibration_images(checkpoint, tmp_path, calibrate=None, count=8, avoid=frozenset())
    others = _held_out_images(checkpoint, tmp_path, count=99, avoid=frozenset(), calibration=calibration)
    assert others is not None
    assert len(others) == len(checkpoint.samples("train")) - 8
    assert not others.digests & calibration.digests


def test_images_of_a_run_without_digests_are_known_by_their_pixels(
    checkpoint: Checkpoint, phantoms: Path, tmp_path: Path
) -> None:
    """Runs of the first release have none."""
    shutil.copytree(checkpoint.run.folder, tmp_path / "old")
    old = replace(checkpoint, run=Run(tmp_path / "old"))
    rows = json.loads(old.run.splits_file.read_text())
    old.run.splits_file.write_text(json.dumps({split: [row[:2] for row in of] for split, of in rows.items()}))
    assert old.digests("train") == frozenset()
    avoid = frozenset(list(checkpoint.digests_by_path("train").values())[:3])
    calibration = _calibration_images(old, phantoms, calibrate=None, count=8, avoid=avoid)
    assert (len(calibration), calibration.missing) == (8, 0)
    others = _held_out_images(old, phantoms, count=99, avoid=avoid, calibration=calibration)
    assert others is not None
    assert len(others) == len(checkpoint.samples("train")) - 8 - 3
    assert not (calibration.digests | others.digests) & avoid
    assert not calibration.digests & others.digests


def test_avoided_images_are_replaced_by_others(checkpoint: Checkpoint, phantoms: Path, tmp_path: Path) -> None:
    for split in ("valid", "test"):
        for file in sorted((phantoms / split).rglob("*.png")):
            shutil.copy(file, tmp_path / f"{split} {file.name}")
    avoid = _validation_images(checkpoint, phantoms).digests
    images = _calibration_images(checkpoint, tmp_path, calibrate=tmp_path, count=6, avoid=avoid)
    assert (len(images), images.missing) == (6, 0)
    assert {sample.path.partition(" ")[0] for sample in images.samples} == {"test"}


def test_other_splits_of_an_invalid_dataset_are_not_used(
    checkpoint: Checkpoint, phantoms: Path, tmp_path: Path
) -> None:
    shutil.copytree(phantoms, tmp_path / "scans")
    shutil.copytree(tmp_path / "scans/valid/normal", tmp_path / "scans/valid/unknown")
    with pytest.raises(DataError, match=r"found 'unknown' too"):
        _calibration_images(checkpoint, phantoms, calibrate=tmp_path / "scans", count=8, avoid=frozenset())
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"a MedMNIST .npz file at '.*broken.npz', found a file that cannot be read"):
        _calibration_images(checkpoint, phantoms, calibrate=tmp_path / "broken.npz", count=8, avoid=frozenset())


def test_golden_images_are_taken_from_each_class_in_turn() -> None:
    labels = [0] * 20 + [1] * 2 + [2] * 20
    assert [labels[row] for row in golden_rows(labels)] == [0, 0, 0, 1, 1, 2, 2, 2]


def chosen(
    checkpoint: Checkpoint, phantoms: Path, precisions: Collection[Precision], samples: int = 10
) -> tuple[ImageSets, list[str]]:
    messages: list[str] = []
    return choose_images(checkpoint, phantoms, precisions, samples=samples, log=messages.append), messages


def test_validation_images_come_first_and_training_images_that_calibration_left_follow(
    checkpoint: Checkpoint, phantoms: Path
) -> None:
    images, messages = chosen(checkpoint, phantoms, ["int8"])
    first, second = images.compared
    assert first.samples == images.validation.samples == checkpoint.samples("valid")
    assert images.calibration is not None
    assert (len(first), len(second), len(images.calibration), messages) == (8, 6, 10, [])
    assert not images.calibration.digests & (first.digests | second.digests)
    assert images.golden.tolist() == list(range(8))


def test_fp16_alone_is_compared_on_all_training_images_too(checkpoint: Checkpoint, phantoms: Path) -> None:
    images, _ = chosen(checkpoint, phantoms, ["fp16"])
    assert images.calibration is None
    assert [len(part) for part in images.compared] == [8, 16]


def test_fp32_alone_needs_only_the_validation_images(checkpoint: Checkpoint, phantoms: Path) -> None:
    images, _ = chosen(checkpoint, phantoms, ["fp32"])
    assert (images.calibration, images.choose_held_out(), len(images.compared)) == (None, None, 1)


def test_test_images_are_those_that_neither_training_nor_export_has_seen(
    checkpoint: Checkpoint, phantoms: Path, tmp_path: Path
) -> None:
    images, _ = chosen(checkpoint, phantoms, ["int8"])
    test = images.choose_test()
    assert test is not None
    assert test.samples == checkpoint.samples("test")
    root = tmp_path / "changed"
    shutil.copytree(phantoms, root)
    copy, other, missing, *_ = (sample.path for sample in test.samples)
    shutil.copy(root / checkpoint.samples("train")[0].path, root / copy)
    shutil.copy(root / checkpoint.samples("valid")[0].path, root / other)
    (root / missing).unlink()
    left = chosen(checkpoint, root, ["fp16"])[0].choose_test()
    assert left is not None
    assert {sample.path for sample in test.samples} - {sample.path for sample in left.samples} == {copy, other, missing}


def test_missing_calibration_images_are_reported(checkpoint: Checkpoint, phantoms: Path) -> None:
    _, messages = chosen(checkpoint, phantoms, ["int8"], samples=300)
    assert messages == [
        "calibrating on 12 images, 288 fewer than requested: a third of each class is kept for the comparison"
    ]


def test_no_more_than_a_bound_of_images_are_compared_but_all_validation_images_are(
    checkpoint: Checkpoint, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert image_sets._COMPARED_IMAGES == 1000
    monkeypatch.setattr(image_sets, "_COMPARED_IMAGES", 12)
    plain = replace(checkpoint, record=replace(checkpoint.record, operating_point=None))
    assert [len(part) for part in chosen(plain, phantoms, ["int8"], samples=4)[0].compared] == [8, 4]
    monkeypatch.setattr(image_sets, "_COMPARED_IMAGES", 5)
    assert [len(part) for part in chosen(plain, phantoms, ["int8"], samples=4)[0].compared] == [8]


def test_decisions_have_training_images_however_many_validation_images_there_are(
    checkpoint: Checkpoint, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert image_sets._DECIDED_IMAGES == 400
    assert checkpoint.record.operating_point is not None
    monkeypatch.setattr(image_sets, "_COMPARED_IMAGES", 5)
    assert [len(part) for part in chosen(checkpoint, phantoms, ["int8"], samples=4)[0].compared] == [8, 12]
    monkeypatch.setattr(image_sets, "_DECIDED_IMAGES", 3)
    assert [len(part) for part in chosen(checkpoint, phantoms, ["int8"], samples=4)[0].compared] == [8, 3]
    assert len(chosen(checkpoint, phantoms, ["fp32"])[0].compared) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_only_on_a_terminal(
    terminal: bool,
    scans: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    parts = [image_set(scans[:5], np.zeros(5, np.int64)), image_set(scans[5:9], np.zeros(4, np.int64))]
    found = list(batches_with_progress("comparing", *parts, count=2))
    assert [len(pixels) for pixels in found] == [2, 2, 1, 2, 2]
    np.testing.assert_array_equal(np.concatenate(found), scans[:9])
    assert ("comparing:   0%" in capsys.readouterr().err) is terminal
