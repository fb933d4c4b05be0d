"""Errors before the first epoch: unusable data, a missing package, an invalid name of a run."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.train import train

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

SMALL = Preprocessing(size=32)
QUICK = TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32")

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def test_data_of_one_class_is_rejected_before_anything_is_made(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 3, "valid/a": 1})
    with pytest.raises(DataError, match=r"^expected two or more class folders with images in '.*', found 'a'; lay "):
        train(root, settings=QUICK, preprocessing=SMALL, name="run", root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_text_files_is_rejected_before_anything_is_made(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "notes" / name).mkdir(parents=True)
        (tmp_path / "notes" / name / "one.txt").write_text("text", encoding="utf-8")
    message = (
        f"expected images in the class folder '{tmp_path / 'notes' / 'a'}', found 1 other file ('one.txt' first); "
        "convert them to PNG, or move the folder out of the dataset"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(tmp_path / "notes", settings=QUICK, preprocessing=SMALL, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("small_backbone")
def test_an_unknown_suspicious_class_is_rejected_before_anything_is_made(data: Path, tmp_path: Path) -> None:
    message = "expected --positive to name one of the classes a, b, found 'c'"
    with pytest.raises(DataError, match=f"^{message}$"):
        train(data, settings=replace(QUICK, positive=("c",)), preprocessing=SMALL, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def fail() -> None:
    raise RuntimeError("something else")


def test_a_missing_tensorboard_is_reported_before_anything_is_made_or_read(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctonnx_train.training.loop.fit.find_spec", lambda name: None)
    monkeypatch.setattr("ctonnx_train.training.train.prepare", fail)
    monkeypatch.setattr("ctonnx_train.training.train.load_backbone", fail)
    message = 'expected the package tensorboard, found none; pip install "ctonnx[tensorboard]"'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(data, settings=replace(QUICK, tensorboard=True), preprocessing=SMALL, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("small_backbone")
def test_an_unreadable_image_is_named_and_leaves_no_run(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 1, "train/b": 1, "valid/a": 1})
    (root / "train" / "b" / "scan 0.png").write_bytes(b"")
    message = (
        f"expected 3 readable images, found 1 that is not: {root / 'train' / 'b' / 'scan 0.png'}: the file is empty "
        "(0 bytes); fix these files or move them out of the data folder"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(root, settings=QUICK, preprocessing=SMALL, name="run", root=tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.usefixtures("small_backbone")
def test_a_truncated_image_is_named_and_leaves_no_run(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 1, "train/b": 2, "valid/a": 1})
    file = root / "train" / "b" / "scan 1.png"
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(
        DataError, match=rf"^expected 4 readable images, found 1 that is not: {re.escape(str(file))}: .*; fix these"
    ):
        train(root, settings=QUICK, preprocessing=SMALL, name="run", root=tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.usefixtures("small_backbone")
def test_one_image_of_each_class_is_too_few_to_make_splits_of(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"a": 1, "b": 1})
    message = (
        "expected at least 3 images of each class to take valid and test from, found 1 of 'a'; add images, or make "
        "'train' and 'valid' folders"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(root, settings=QUICK, preprocessing=SMALL, name="run", root=tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_one_image_of_each_class_in_each_split_can_be_trained_on(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {f"{split}/{name}": 1 for split in ("train", "valid") for name in "ab"})
    made = train(root, settings=replace(QUICK, batch_size=2), preprocessing=SMALL, name="run", root=tmp_path / "runs")
    assert made.record.metrics["valid"]["images"] == 2


@pytest.mark.usefixtures("small_backbone")
def test_a_run_is_never_written_over(data: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text("kept", encoding="utf-8")
    message = f"expected a new name for the run, found that '{tmp_path / 'old'}' exists; choose another --name"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        train(data, settings=QUICK, preprocessing=SMALL, name="old", root=tmp_path)
    assert [file.read_text(encoding="utf-8") for file in (tmp_path / "old").iterdir()] == ["kept"]


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a/b", "a/", "/tmp/a"])  # noqa: S108 - it is rejected
def test_a_runs_name_is_a_plain_folder_name(name: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^expected a plain folder name for the run, found '{re.escape(name)}'$"):
        train(data, settings=QUICK, preprocessing=SMALL, name=name, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.parametrize("inner", [".", "Data"])
def test_a_run_without_a_name_has_the_data_folders_and_the_time(
    inner: str, images_in: ImagesIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def stop(*arguments: Any, **options: Any) -> None:
        names.extend(folder.name for folder in (tmp_path / "runs").iterdir())
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_train.training.train.prepare", stop)
    images_in(tmp_path / "scans" / inner, {"train/a": 1, "train/b": 1, "valid/a": 1})
    with pytest.raises(DataError, match="seen enough"):
        train(tmp_path / "scans", settings=QUICK, preprocessing=SMALL, root=tmp_path / "runs")
    assert len(names) == 1
    assert re.fullmatch(r"scans-\d{8}-\d{6}", names[0])
