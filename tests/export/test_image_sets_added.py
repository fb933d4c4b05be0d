"""Images of an export that are added without labels: any that predict reads, except for those that the run uses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx_export import image_sets
from ctonnx_export.image_sets import ImageSets, choose_images
from ctonnx_train.runs.checkpoint import Checkpoint, load_checkpoint


@pytest.fixture(scope="module")
def checkpoint(trained_run: Run) -> Checkpoint:
    return load_checkpoint(trained_run)


def noise(file: Path, seed: int) -> None:
    """Writes a random picture, in the format of the file's ending."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)).save(file)


def chosen(checkpoint: Checkpoint, phantoms: Path, added: Path) -> tuple[ImageSets, list[str]]:
    messages: list[str] = []
    found = choose_images(checkpoint, phantoms, ["int8"], samples=8, added=added, log=messages.append)
    assert found.compared
    return found, messages


def test_images_of_the_run_and_unreadable_ones_are_left_out_and_counted(
    checkpoint: Checkpoint, phantoms: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "scans"
    noise(folder / "a/one.png", 1)
    noise(folder / "b/one.png", 2)
    shutil.copy(folder / "b/one.png", folder / "copy.png")
    for split in ("train", "valid"):
        shutil.copy(phantoms / checkpoint.samples(split)[0].path, folder / f"{split}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "notes.txt").write_text("no image")
    found, messages = chosen(checkpoint, phantoms, folder)
    assert found.origins == ("valid", "train", "added")
    added = found.compared[2]
    assert len(added) == 2
    assert added.labels.tolist() == [-1, -1]
    assert messages == [
        f"skipped in '{folder}': 3 used for the training, validation or calibration, or copies, and 1 unreadable"
    ]
    assert not added.digests & (found.validation.digests | checkpoint.digests("train"))


def test_test_images_that_are_added_are_no_longer_unseen(
    checkpoint: Checkpoint, phantoms: Path, tmp_path: Path
) -> None:
    first, *others = checkpoint.samples("test")
    shutil.copy(phantoms / first.path, tmp_path / "scan.png")
    found, messages = chosen(checkpoint, phantoms, tmp_path)
    test = found.choose_test()
    assert test is not None
    assert (test.samples, messages) == (tuple(others), [])


def test_a_folder_without_other_images_is_an_error(checkpoint: Checkpoint, phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^expected images to compare on in '.*', found none; name a dataset or a fold"
    ):
        choose_images(checkpoint, phantoms, ["int8"], samples=8, added=tmp_path, log=print)  # before any work
    shutil.copy(phantoms / checkpoint.samples("valid")[0].path, tmp_path / "scan.png")
    with pytest.raises(DataError) as caught:
        chosen(checkpoint, phantoms, tmp_path)
    assert str(caught.value) == (
        f"expected other images in '{tmp_path}', found 1 used for the training, validation or calibration, or copies, "
        "and 0 unreadable; name images that the run does not have"
    )


def test_of_very_many_images_the_seed_chooses(
    checkpoint: Checkpoint, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(6):
        noise(tmp_path / f"{seed}.png", seed)
    monkeypatch.setattr(image_sets, "_COMPARED_IMAGES", 4)
    found, messages = chosen(checkpoint, phantoms, tmp_path)
    assert len(found.compared[-1]) == 4
    assert messages == [f"comparing on 4 of the 6 images in '{tmp_path}', the most that are used"]
    assert chosen(checkpoint, phantoms, tmp_path)[0].compared[-1].samples == found.compared[-1].samples


def test_dicom_files_are_added(checkpoint: Checkpoint, phantoms: Path, tmp_path: Path, dicom_file: bytes) -> None:
    (tmp_path / "scan").write_bytes(dicom_file)
    assert len(chosen(checkpoint, phantoms, tmp_path)[0].compared[-1]) == 1
