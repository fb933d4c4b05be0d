"""Images of a family: a split that trained and chose none of its models."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ctonnx.errors import DataError
from ctonnx_bench.benchmark.family.images import FamilyImages, golden_family_images, labelled_family_images
from ctonnx_bench.benchmark.family.members import read_family

SPLITS = ("train", "valid", "test")


def of(data: Path, family: list[Path]) -> FamilyImages:
    return labelled_family_images(data, read_family(family), lambda line: None)


def copied(phantoms: Path, target: Path, *splits: str) -> Path:
    for split in splits:
        shutil.copytree(phantoms / split, target / split)
    return target


def images_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def test_test_images_are_used_if_there_are_any(family: list[Path], phantoms: Path) -> None:
    lines: list[str] = []
    found = labelled_family_images(phantoms, read_family(family), lines.append)
    count = len(images_in(phantoms / "test"))
    assert found.split == "test"
    assert found.checked.about == f"{count} labelled images (test) of {phantoms}"
    assert found.checked.pixels.shape == (count, 64, 64, 3)
    assert (found.effective, found.checked.caveats) == (count, ())
    assert set(found.checked.labels.tolist()) == {0, 1, 2, 3}
    assert f"reading {count} images of {phantoms}" in lines


def test_validation_images_are_named_as_those_that_chose(family: list[Path], phantoms: Path, tmp_path: Path) -> None:
    found = of(copied(phantoms, tmp_path / "data", "train", "valid"), family)
    assert found.split == "valid"
    assert "labelled images (valid) of" in found.checked.about
    (caveat,) = found.checked.caveats
    assert caveat.startswith("accuracy: the validation images selected the best epoch")


def test_copies_of_images_that_trained_or_chose_are_left_out(
    family: list[Path], phantoms: Path, tmp_path: Path
) -> None:
    data = copied(phantoms, tmp_path / "data", *SPLITS)
    for split in ("train", "valid"):
        shutil.copy(images_in(phantoms / split)[0], images_in(data / "test")[0].with_name(f"copy-{split}.png"))
    found = of(data, family)
    assert len(found.checked) == len(images_in(phantoms / "test"))
    assert found.checked.caveats == (
        "accuracy: 2 images of the split are left out, as a copy trained or selected a model of the family",
    )


def test_dataset_of_training_images_only_is_an_error(family: list[Path], phantoms: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantoms / "train", data)
    with pytest.raises(DataError) as raised:
        of(data, family)
    assert str(raised.value) == (
        f"expected labelled images in '{data}' that chose no model of the family, found that all "
        f"{len(images_in(data))} of the split 'all' trained or selected one; name other images with --data"
    )


def test_folder_without_labels_is_an_error(family: list[Path], phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    shutil.copy(images_in(phantoms / "test")[0], tmp_path / "scans")
    with pytest.raises(DataError, match=r"^expected .*scans"):
        of(tmp_path / "scans", family)


def test_copies_within_the_split_count_as_one_image(family: list[Path], phantoms: Path, tmp_path: Path) -> None:
    data = copied(phantoms, tmp_path / "data", *SPLITS)
    image = images_in(data / "test")[0]
    shutil.copy(image, image.with_name("again.png"))
    found = of(data, family)
    count = len(found.checked)
    assert count == len(images_in(phantoms / "test")) + 1
    assert found.effective == pytest.approx(count**2 / (count - 2 + 2**2))


def test_training_images_of_a_file_without_its_run_are_unknown(
    family: list[Path], phantoms: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone.onnx"
    shutil.copy(family[2], alone)
    (caveat,) = of(phantoms, [family[0], alone]).checked.caveats
    assert caveat.startswith(f"accuracy: the training images of '{alone}' are unknown here")


def test_leaks_of_the_training_are_a_caveat_once(family: list[Path], phantoms: Path) -> None:
    models = [
        replace(model, spec=replace(model.spec, data={**model.spec.data, "leaks": {"leaked": {"test": 1}}}))
        for model in read_family(family)
    ]
    (caveat,) = labelled_family_images(phantoms, models, lambda line: None).checked.caveats
    assert caveat.startswith("accuracy: of the data that a model was trained on, 1 of ")


def test_golden_inputs_have_no_labels(family: list[Path]) -> None:
    found = golden_family_images(read_family(family)[0])
    assert found.split is None
    assert found.effective == len(found.checked) > 0
    assert found.checked.golden is not None
    assert set(found.checked.labels.tolist()) == {-1}


def test_image_that_cannot_be_read_is_reported(family: list[Path], phantoms: Path, tmp_path: Path) -> None:
    data = copied(phantoms, tmp_path / "data", *SPLITS)
    broken = images_in(data / "test")[0]
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(DataError, match=broken.name):
        of(data, family)


def test_missing_extra_is_named(family: list[Path], phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ctonnx_train.evaluation.evaluated_model", raising=False)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(DataError) as raised:
        of(phantoms, family)
    message = str(raised.value)
    assert message.startswith("expected the extra 'evaluate' for labelled images, found no package 'tqdm'; pip install")
    assert "evaluate" in message.partition("pip install")[2]
