"""A labels file in a dataset folder that is read without it is named, wherever the folders are not the classes."""

from pathlib import Path

import pytest
from tests.train.conftest import ImagesIn
from tests.train.data.conftest import rejected

from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.layouts.unused_labels import find_labels_file

PATIENTS = {"PA01/ST1": 2, "PA02/ST1": 2, "PA03/ST1": 2}
LABELS = ("normal", "tumour")


def write_labels(root: Path, name: str = "labels.csv", *, header: str = "path,label", by_folder: bool = False) -> Path:
    """Writes a row for each image; its class alternates within folders, or with the folders."""
    images = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    folders = sorted({image.parts[0] for image in images})
    rows = [
        f"{image.as_posix()},{LABELS[(folders.index(image.parts[0]) if by_folder else number) % 2]}"
        for number, image in enumerate(images)
    ]
    (root / name).write_text("\n".join([header, *rows]), encoding="utf-8")
    return root / name


def hint(file: Path) -> str:
    return f"'{file}' looks like a labels file: use it with --labels {file}"


@pytest.mark.parametrize("by_folder", [True, False])
def test_folders_of_patients_are_not_taken_for_classes(images_in: ImagesIn, tmp_path: Path, by_folder: bool) -> None:
    file = write_labels(images_in(tmp_path, PATIENTS), by_folder=by_folder)
    message = (
        f"expected folders of the classes ('normal', 'tumour') in '{tmp_path}', found 3 other folders; if they are the "
        f"classes, name them with --class-name or move the labels file; {hint(file)}"
    )
    rejected(tmp_path, message)
    rejected(tmp_path, message, classes=("normal", "tumour"))  # of a model to evaluate
    assert read_data(tmp_path, labels=file).classes == ("normal", "tumour")


def test_sites_with_images_of_each_class_are_no_classes(images_in: ImagesIn, tmp_path: Path) -> None:
    file = write_labels(images_in(tmp_path, {"site A": 2, "site B": 2}))
    rejected(
        tmp_path,
        f"expected folders of the classes ('normal', 'tumour') in '{tmp_path}', found 2 other folders; if they are the "
        f"classes, name them with --class-name or move the labels file; {hint(file)}",
    )


def test_folders_that_may_be_identifiers_are_not_shown(images_in: ImagesIn, tmp_path: Path) -> None:
    file = write_labels(images_in(tmp_path, {"DOE_JOHN_19510417/ST1": 2, "DOE_JOHN_19510417/ST2": 2}))
    rejected(
        tmp_path,
        f"expected folders of the classes ('normal', 'tumour') in '{tmp_path}', found 1 other folder; if they are the "
        f"classes, name them with --class-name or move the labels file; {hint(file)}",
    )


@pytest.mark.parametrize("folders", [("Normal", "tumour"), ("a", "b"), ("train/Normal", "train/tumour")])
def test_file_next_to_folders_of_its_classes_is_a_note(
    images_in: ImagesIn, tmp_path: Path, folders: tuple[str, str]
) -> None:
    file = write_labels(images_in(tmp_path, dict.fromkeys(folders, 2)), by_folder=True)
    data = read_data(tmp_path)
    assert data.notes[-1] == hint(file).replace(": use", " and is not used: use")
    assert len(data.classes) == 2


def test_folders_that_the_user_names_are_classes(images_in: ImagesIn, tmp_path: Path) -> None:
    file = write_labels(images_in(tmp_path, PATIENTS))
    data = read_data(tmp_path, class_names={"PA01": "x"})
    assert data.classes == ("pa02", "pa03", "x")
    assert any(str(file) in note for note in data.notes)


def test_images_without_class_folders_are_an_error_that_names_the_file(images_in: ImagesIn, tmp_path: Path) -> None:
    file = write_labels(images_in(tmp_path, {".": 3}))
    rejected(
        tmp_path,
        f"expected two or more class folders with images in '{tmp_path}', found none (skipped: 1 other file "
        f"('labels.csv' first)) (skipped: 3 images in '{tmp_path}' itself, in no class folder ('scan 0.png' first)); "
        f"lay the images out as DATA/train/CLASS/*.png or DATA/CLASS/*.png; {hint(file)}",
    )


def test_file_may_have_another_name_but_must_have_the_columns(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, PATIENTS)
    write_labels(tmp_path, "scanners.csv", header="path,scanner")
    (tmp_path / "empty.csv").touch()
    assert find_labels_file(tmp_path) is None
    assert len(read_data(tmp_path).classes) == 3
    found = write_labels(tmp_path, "Export 2026.CSV", header='\ufeff"Path";"Label"')
    assert find_labels_file(tmp_path) == found
    write_labels(tmp_path, "second.csv")
    assert find_labels_file(tmp_path) is None  # which of the two?
    assert find_labels_file(tmp_path / "missing") is None
    named = write_labels(tmp_path, "Labels.csv")
    assert find_labels_file(tmp_path) == named


def test_path_with_a_space_can_be_pasted(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "my scans", PATIENTS)
    file = write_labels(root)
    with pytest.raises(Exception, match=f"use it with --labels '{file}'$"):
        read_data(root)


def test_file_in_a_wrapping_folder_is_found(images_in: ImagesIn, tmp_path: Path) -> None:
    file = write_labels(images_in(tmp_path / "Data", {"a": 2, "b": 2}), by_folder=True)
    assert any(str(file) in note for note in read_data(tmp_path).notes)


def test_file_of_other_images_is_not_named(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, PATIENTS)
    (tmp_path / "labels.csv").write_text("path,label\nelsewhere/1.png,normal\n", encoding="utf-8")
    assert read_data(tmp_path).notes == ("skipped: 1 other file ('labels.csv' first)",)


def test_damaged_file_is_a_note(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, PATIENTS)
    (tmp_path / "labels.csv").write_text("path,label\na,b,c\n", encoding="utf-8")
    assert "looks like a labels file" in read_data(tmp_path).notes[-1]
