"""Dataset preparation: leaks, groups, new splits and the fingerprint."""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.errors import DataError
from ctonnx.images import Preprocessing, load, to_pixels
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.training.preparation import Prepared, prepare
from ctonnx_train.training.recipe import TrainSettings

ImagesIn = Callable[[Path, Mapping[str, int]], Path]

COUNTS = {"train/a": 4, "train/b": 4, "valid/a": 2, "valid/b": 2, "test/a": 2, "test/b": 2}


@pytest.fixture
def data(images_in: ImagesIn, tmp_path: Path) -> Path:
    """Sixteen images, no two alike."""
    return images_in(tmp_path / "scans", COUNTS)


def prepared(root: Path, **settings: Any) -> tuple[Prepared, list[str]]:
    """Returns the result of `prepare` for a folder, and the lines that it logged."""
    lines: list[str] = []
    made = prepare(read_data(root), TrainSettings(**settings), Preprocessing(size=32), lines.append)
    return made, lines


def copy(root: Path, source: str, target: str) -> None:
    """Copies an image's pixels into another file, in another format."""
    with Image.open(root / source) as image:
        image.save((root / target).with_suffix(".bmp"))


def with_leaks(root: Path) -> Path:
    """Puts a training image into valid, a training and a validation image into test, and one into two classes."""
    copy(root, "train/a/scan 0.png", "valid/a/copy")
    copy(root, "train/b/scan 0.png", "test/b/copy")
    copy(root, "valid/b/scan 0.png", "test/b/other")
    copy(root, "train/a/scan 1.png", "train/b/conflict")
    return root


def test_without_copies_the_splits_are_counted_and_nothing_is_warned_of(data: Path) -> None:
    made, lines = prepared(data)
    assert lines == ["train: 8 images (a 4, b 4)", "valid: 4 images (a 2, b 2)", "test: 4 images (a 2, b 2)"]
    assert made.leaks.groups == 0
    assert made.data == read_data(data)
    assert {split: list(rows) for split, rows in made.rows.items()} == {
        "train": list(range(8)),
        "valid": [8, 9, 10, 11],
        "test": [12, 13, 14, 15],
    }
    assert [made.labels(split) for split in ("train", "valid", "test")] == [
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]


def test_shortcuts_of_the_training_images_are_found_and_logged(tmp_path: Path) -> None:
    for label, name in enumerate(("a", "b")):
        for number in range(30):
            blots = np.random.default_rng([label, number]).integers(0, 256, (8, 8), dtype=np.uint8)
            folder = tmp_path / ("valid" if number % 4 == 0 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(blots).resize((80 + 8 * label, 80), Image.Resampling.BICUBIC)
            image.save(folder / f"{number}.png")
    made, lines = prepared(tmp_path)
    warning = "warning: strong shortcuts: facts other than the anatomy predict 'a', 'b'; see: ctonnx data audit DATA"
    assert warning in lines
    assert made.shortcuts is not None
    assert made.shortcuts["verdict"] == "strong"
    assert made.acquisition is not None
    assert (made.acquisition["images"], made.acquisition["by_class"]["b"]["width"]) == (44, 88.0)
    assert made.store.descriptions == {}
    cropped = prepare(read_data(tmp_path), TrainSettings(), Preprocessing(size=32, crop="body"), lines.append)
    assert lines.count(warning) == 1
    assert cropped.shortcuts is not None
    assert (cropped.shortcuts["verdict"], cropped.shortcuts.get("audited")) == ("none", "input")
    padded = prepare(read_data(tmp_path), TrainSettings(), Preprocessing(size=32, resize="pad"), lines.append)
    assert padded.shortcuts is not None
    assert (padded.shortcuts["verdict"], padded.shortcuts.get("audited")) == ("strong", "input")  # black bars
    assert (
        "warning: strong shortcuts in what the network sees: facts other than the anatomy predict 'a', 'b'; see: "
        "ctonnx data audit DATA --as-seen --crop none --resize pad"
    ) in lines


def test_leaks_are_warned_of_with_their_numbers_and_are_trained_on_all_the_same(data: Path) -> None:
    made, lines = prepared(with_leaks(data))
    assert lines == [
        "warning: 8 files in 4 groups of identical pixels: 3 groups (6 files) across splits, 1 with different labels; "
        "files that leaked from an earlier split: 1 of valid, 2 of test",
        "warning: metrics on these splits are optimistic; --drop-leaks removes the leaked files",
        "train: 9 images (a 4, b 5)",
        "valid: 5 images (a 3, b 2)",
        "test: 6 images (a 2, b 4)",
    ]
    assert made.leaks.leaked == {"valid": 1, "test": 2}
    assert made.leaks.dropped == {}


def test_copies_within_a_split_are_reported_and_do_not_leak(data: Path) -> None:
    copy(data, "train/a/scan 0.png", "train/a/again")
    _, lines = prepared(data)
    assert lines[0] == (
        "warning: 2 files in 1 group of identical pixels: 0 groups (0 files) across splits, 0 with different labels; "
        "files that leaked from an earlier split: none"
    )
    assert lines[1] == "train: 9 images (a 5, b 4)"


def test_dropped_leaks_are_in_no_split_and_are_counted(data: Path) -> None:
    made, lines = prepared(with_leaks(data), drop_leaks=True)
    assert lines[1:] == [
        "dropped: 2 of train, 1 of valid, 2 of test",
        "train: 7 images (a 3, b 4)",
        "valid: 4 images (a 2, b 2)",
        "test: 4 images (a 2, b 2)",
    ]
    assert made.leaks.dropped == {"train": 2, "valid": 1, "test": 2}
    assert made.leaks.leaked == {"valid": 1, "test": 2}
    names = {split: [sample.path for sample in samples] for split, samples in made.data.splits.items()}
    assert names["valid"] == ["valid/a/scan 0.png", "valid/a/scan 1.png", "valid/b/scan 0.png", "valid/b/scan 1.png"]
    assert "train/a/scan 1.png" not in names["train"]
    assert "train/b/conflict.bmp" not in names["train"]
    for split, samples in made.data.splits.items():  # the rows still point at the right images
        stored = made.store.take(made.rows[split])
        for sample, pixels in zip(samples, stored, strict=True):
            expected = to_pixels(load(data / sample.path), Preprocessing(size=32))[:, :, :1]
            np.testing.assert_array_equal(pixels, expected)


def test_a_class_of_which_nothing_is_left_to_train_on_is_named(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 1, "valid/a": 1, "valid/b": 1})
    copy(root, "train/b/scan 0.png", "train/a/copy")
    message = (
        "expected training images of every class, found none of 'b' once those with several labels were dropped; "
        "audit the dataset: ctonnx data audit"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        prepared(root, drop_leaks=True)


def test_a_validation_split_of_only_copies_is_reported(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 2, "valid/a": 1})
    shutil.copy(root / "train/a/scan 0.png", root / "valid/a/scan 0.png")
    message = (
        "expected validation images, found that all of them have copies among the training images and were dropped; "
        "remove the 'valid' folder, and a split is made"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        prepared(root, drop_leaks=True)


def paths(made: Prepared) -> dict[str, list[str]]:
    return {split: [sample.path for sample in samples] for split, samples in made.data.splits.items()}


def test_made_splits_are_stratified_and_reproduced_by_the_seed(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"a": 20, "b": 40})
    made, lines = prepared(root, seed=5)
    assert lines == ["train: 42 images (a 14, b 28)", "valid: 9 images (a 3, b 6)", "test: 9 images (a 3, b 6)"]
    assert paths(prepared(root, seed=5)[0]) == paths(made)
    assert paths(prepared(root, seed=6)[0]) != paths(made)
    every = [path for split in paths(made).values() for path in split]
    assert sorted(every) == sorted(sample.path for sample in read_data(root).samples)


def test_only_the_split_that_is_missing_is_made(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 20, "train/b": 20, "test/a": 2})
    _, lines = prepared(root)
    assert lines == ["train: 34 images (a 17, b 17)", "valid: 6 images (a 3, b 3)", "test: 2 images (a 2, b 0)"]


def test_copies_are_kept_in_one_made_split(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"a": 20, "b": 20})
    for number in range(10):
        copy(root, f"a/scan {number}.png", f"a/copy {number}")
    for seed in range(5):
        made, lines = prepared(root, seed=seed)
        assert made.leaks.groups_across_splits == 0
        assert lines[0].startswith("warning: 20 files in 10 groups of identical pixels: 0 groups (0 files) across")
        of = {path: split for split, found in paths(made).items() for path in found}
        assert all(of[f"a/scan {number}.png"] == of[f"a/copy {number}.bmp"] for number in range(10))


def patients(root: Path, images_in: ImagesIn) -> Path:
    """Makes ten patients of each class with four scans each."""
    for name in "ab":
        for patient in range(10):
            images_in(root, {f"{name}/p{name}{patient}": 4})
    rng = np.random.default_rng(0)
    for file in sorted(root.rglob("*.png")):  # no two images alike
        Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(file)
    return root


def test_a_group_is_kept_in_one_made_split(images_in: ImagesIn, tmp_path: Path) -> None:
    root = patients(tmp_path, images_in)
    made, lines = prepared(root, group_regex=r"/(p[ab]\d)/")
    assert lines[0] == "patients: 20 from --group-regex (of 80 images)"
    folders = [{path.rpartition("/")[0] for path in found} for found in paths(made).values()]
    assert all(folders)
    assert sum(map(len, folders)) == 20
    scattered = prepared(root)[0]
    assert sum(len({path.rpartition("/")[0] for path in found}) for found in paths(scattered).values()) > 20


def test_a_group_in_two_splits_leaks_and_is_dropped(data: Path) -> None:
    made, lines = prepared(data, group_regex=r"a/scan (1)", drop_leaks=True)
    assert lines[:3] == [
        "patients: 1 from --group-regex (of 3 of 16 images)",
        "warning: files whose group is in an earlier split: 1 of valid, 1 of test",
        "dropped: 0 of train, 1 of valid, 1 of test",
    ]
    assert "valid/a/scan 1.png" not in paths(made)["valid"]


def test_validation_images_with_a_copy_or_an_image_of_their_group_among_the_training_images_are_known(
    data: Path,
) -> None:
    assert prepared(data)[0].leaked_valid == frozenset()
    copy(data, "train/a/scan 0.png", "valid/b/copy")
    assert {sample.path for sample in prepared(data)[0].leaked_valid} == {"valid/b/copy.bmp"}
    grouped = prepared(data, group_regex=r"a/scan (1)")[0].leaked_valid
    assert {sample.path for sample in grouped} == {"valid/b/copy.bmp", "valid/a/scan 1.png"}
    assert prepared(data, drop_leaks=True)[0].leaked_valid == frozenset()


def test_a_group_regex_is_checked_before_an_image_is_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ctonnx_train.training.preparation.PixelStore", lambda *arguments, **options: pytest.fail("too late")
    )
    with pytest.raises(DataError, match=r"^expected a regular expression for --group-regex, found '\(' \("):
        prepared(data, group_regex="(")
    with pytest.raises(DataError, match=r"^expected --group-regex 'patient' to match paths such as 'train/a/scan 0"):
        prepared(data, group_regex="patient")


def test_too_few_images_of_a_class_for_made_splits_are_reported(images_in: ImagesIn, tmp_path: Path) -> None:
    message = (
        "expected at least 3 images of each class to take valid and test from, found 1 of 'b'; add images, or make "
        "'train' and 'valid' folders"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        prepared(images_in(tmp_path, {"a": 9, "b": 1}))


def test_images_that_are_not_kept_in_memory_are_reported(data: Path) -> None:
    made, lines = prepared(data, cache_gb=5.5 * 32 * 32 / 1e9)
    assert made.store.kept == 5
    assert lines[0] == "kept in memory: 5 of 16 images (--cache-gb); the others are decoded each time"


def test_the_bound_is_shared_among_the_processes_of_a_machine(data: Path) -> None:
    made, _ = prepared(data, cache_gb=10.5 * 32 * 32 / 1e9, devices=2, nodes=3)
    assert made.store.kept == 5


def test_each_image_knows_its_group_where_groups_were_asked_for(data: Path) -> None:
    copy(data, "test/a/scan 1.png", "test/b/copy")  # in the group of its original
    made, _ = prepared(data, group_regex=r"a/scan (1)")
    numbers = made.group_numbers("test")
    assert numbers is not None
    assert [sample.path for sample in made.data.splits["test"]][1:3] == ["test/a/scan 1.png", "test/b/copy.bmp"]
    assert numbers[1] == numbers[2]
    assert len(set(numbers)) == len(numbers) - 1 == 4
    train = made.group_numbers("train")
    assert train is not None
    assert set(train) & set(numbers) == {numbers[1]}  # 'a/scan 1' of train
    assert prepared(data)[0].group_numbers("test") is None


def fingerprint(root: Path, **settings: Any) -> str:
    return prepared(root, **settings)[0].fingerprint


def test_the_fingerprint_is_of_pixels_classes_and_splits_and_not_of_names_and_formats(data: Path) -> None:
    before = fingerprint(data)
    assert re.fullmatch("[0-9a-f]{64}", before)
    with Image.open(data / "train/a/scan 0.png") as image:
        image.save(data / "train/a/zzz.bmp")
    (data / "train/a/scan 0.png").unlink()
    assert fingerprint(data) == before
    moved = shutil.copytree(data, data.parent / "moved")
    assert fingerprint(moved) == before
    (moved / "train/a/zzz.bmp").rename(moved / "train/b/zzz.bmp")
    assert fingerprint(moved) != before
    (data / "train/a/zzz.bmp").rename(data / "valid/a/zzz.bmp")
    assert fingerprint(data) != before


@pytest.mark.parametrize("counts", [COUNTS, {"a": 20, "b": 20}])
def test_one_changed_pixel_changes_the_fingerprint(
    counts: Mapping[str, int], images_in: ImagesIn, tmp_path: Path
) -> None:
    root = images_in(tmp_path, counts)
    before = fingerprint(root)
    file = min(root.rglob("*.png"))
    with Image.open(file) as image:
        changed = image.copy()
    changed.putpixel((0, 0), (int(np.asarray(changed)[0, 0]) + 1) % 256)
    changed.save(file)
    assert fingerprint(root) != before
