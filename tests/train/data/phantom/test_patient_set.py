"""Phantom sets with patients: layout, labels, reproducibility, and what a split by slices is worth."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.errors import DataError
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.phantom.patient_set import PatientSet, generate_patients

_PATIENTS, _SLICES = 16, 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PatientSet:
    """A PNG set."""
    return generate_patients(tmp_path_factory.mktemp("png") / "set", patients=_PATIENTS, slices=_SLICES, size=64)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> PatientSet:
    """A DICOM set."""
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    out = tmp_path_factory.mktemp("dicom") / "set"
    return generate_patients(out, patients=4, slices=3, size=64, image_format="dicom")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_split_by_slices_looks_too_good_and_one_by_patients_does_not(made: PatientSet) -> None:
    """The nearest training slice of a slice is one of the same patient, if there is one."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    rows = rows_of(made.folder)
    pixels = np.stack([np.asarray(Image.open(made.folder / row["path"]), np.float32).ravel() for row in rows])
    labels, patients = ([row[name] for row in rows] for name in ("label", "patient"))
    nearest = KNeighborsClassifier(1)
    by_slices, by_patients = StratifiedKFold(4, shuffle=True, random_state=0), StratifiedGroupKFold(4)
    predicted = {
        "slices": cross_val_predict(nearest, pixels, labels, cv=by_slices),
        "patients": cross_val_predict(nearest, pixels, labels, groups=patients, cv=by_patients),
    }
    always_normal = labels.count("normal") / len(labels)
    accuracy = {by: accuracy_score(labels, classes) for by, classes in predicted.items()}
    balanced = {by: balanced_accuracy_score(labels, classes) for by, classes in predicted.items()}
    print(f"accuracy {accuracy}, balanced {balanced}, always normal {always_normal:.3f}")
    assert accuracy["slices"] > 0.85 > always_normal + 0.1 > accuracy["patients"]
    assert balanced["slices"] > 0.75
    assert balanced["patients"] < 0.45


def test_png_files_are_in_class_folders_and_named_by_patient_and_slice(made: PatientSet) -> None:
    rows = rows_of(made.folder)
    names = [row["path"] for row in rows]
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "README.txt",
        "cavitating",
        "labels.csv",
        "large.central",
        "normal",
        "phantom.json",
        "small.peripheral",
    ]
    assert sorted(names) == sorted(path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*.png"))
    for row in rows:
        assert row["path"].partition("/")[0] == row["label"]
    found = [re.fullmatch(r"\S+/patient_(\d{3})_slice_(\d\d)\.png", name) for name in names]
    assert sorted((int(one[1]), int(one[2])) for one in found if one) == [
        (patient, index) for patient in range(1, _PATIENTS + 1) for index in range(1, _SLICES + 1)
    ]


def test_images_are_grey_have_the_size_are_described_as_synthetic_and_differ(made: PatientSet) -> None:
    seen = set()
    for path in made.folder.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (64, 64))
            assert image.info == {"Description": "Synthetic CT phantom made by ctonnx; not a patient"}
            seen.add(image.tobytes())
    assert len(seen) == _PATIENTS * _SLICES


def check_labels(found: PatientSet, patients: int) -> None:
    rows = rows_of(found.folder)
    assert list(rows[0]) == ["path", "label", "patient", "study", "series", "sex", "age", "scanner"]
    facts: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        facts.setdefault(row["patient"], set()).add(tuple(row[name] for name in ("study", "sex", "age", "scanner")))
        assert (found.folder / row["path"]).is_file()
        assert row["patient"] not in row["path"]
    assert len(facts) == patients
    assert all(len(values) == 1 for values in facts.values())
    kinds = [{row["label"] for row in rows if row["patient"] == patient} for patient in facts]
    assert all("normal" in labels for labels in kinds)
    assert Counter(len(labels) for labels in kinds) == {1: patients // 4, 2: patients - patients // 4}
    assert found.per_class == Counter(row["label"] for row in rows)


def test_labels_describe_each_slice_with_its_patient(made: PatientSet, exported: PatientSet) -> None:
    check_labels(made, _PATIENTS)
    check_labels(exported, 4)
    assert (made.images, made.patients) == (_PATIENTS * _SLICES, _PATIENTS)


def test_training_reads_the_class_folders_without_splits_as_synthetic(made: PatientSet) -> None:
    found = read_data(made.folder)
    assert found.classes == ("cavitating", "large central", "normal", "small peripheral")
    assert found.synthetic
    assert found.to_make == ("valid", "test")
    assert len(found.samples) == made.images


def test_marker_and_readme_describe_the_set(made: PatientSet, exported: PatientSet) -> None:
    marker = json.loads((made.folder / "phantom.json").read_text(encoding="utf-8"))
    assert marker == {
        "format": "png",
        "generator": "ctonnx data phantom",
        "patients": _PATIENTS,
        "seed": 0,
        "size": 64,
        "slices": _SLICES,
        "synthetic": True,
    }
    for folder in (made.folder, exported.folder):
        assert "no clinical meaning" in (folder / "README.txt").read_text(encoding="utf-8")


def test_dicom_files_are_in_folders_of_running_numbers(exported: PatientSet) -> None:
    files = [path.relative_to(exported.folder) for path in exported.folder.glob("PA*/**/*") if path.is_file()]
    assert len(files) == exported.images
    assert {file.parts[0] for file in files} == {f"PA{number:06d}" for number in range(1, 5)}
    for file in files:
        assert re.fullmatch(r"PA\d{6}/ST000001/SE\d{6}/IM\d{6}", file.as_posix())


def test_png_and_dicom_sets_have_the_same_patients(exported: PatientSet, tmp_path: Path) -> None:
    png = generate_patients(tmp_path / "png", patients=4, slices=3, size=64)
    facts = [
        {tuple(row[name] for name in ("patient", "study", "sex", "age", "scanner")) for row in rows_of(folder)}
        for folder in (png.folder, exported.folder)
    ]
    assert facts[0] == facts[1]


def test_the_same_arguments_give_the_same_bytes(exported: PatientSet, tmp_path: Path) -> None:
    again = generate_patients(tmp_path / "again", patients=4, slices=3, size=64, image_format="dicom")
    assert digests(again.folder) == digests(exported.folder)
    first, second = (generate_patients(tmp_path / name, patients=4, slices=2, size=64) for name in ("one", "two"))
    assert digests(first.folder) == digests(second.folder)


def test_more_patients_keep_those_of_a_smaller_set_and_another_seed_has_others(
    made: PatientSet, tmp_path: Path
) -> None:
    smaller = generate_patients(tmp_path / "smaller", patients=4, slices=_SLICES, size=64)
    larger = digests(made.folder)
    images = {name: digest for name, digest in digests(smaller.folder).items() if name.endswith(".png")}
    assert images.items() <= larger.items()
    other = generate_patients(tmp_path / "other", patients=4, slices=2, size=64, seed=1)
    assert not {row["patient"] for row in rows_of(other.folder)} & {row["patient"] for row in rows_of(made.folder)}


@pytest.mark.parametrize("image_format", ["png", "dicom"])
def test_progress_counts_up_to_all_images_and_ctrl_c_leaves_nothing_behind(image_format: Any, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    arguments: dict[str, Any] = {"patients": 4, "slices": 2, "size": 64, "image_format": image_format}
    total = generate_patients(tmp_path / "set", **arguments, progress=lambda *counts: seen.append(counts)).images
    assert seen == [(done, total) for done in range(1, total + 1)]

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_patients(tmp_path / "stopped", **arguments, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"patients": 3}, "expected patients of 4 or more, found 3; give a larger patients"),
        ({"slices": 1}, "expected slices of 2 or more, found 1; give a larger slices"),
        ({"size": 63}, "expected size of 64 or more, found 63; give a larger size"),
        ({"seed": -1}, "expected seed of 0 or more, found -1; give a larger seed"),
    ],
)
def test_a_number_out_of_range_is_rejected(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        generate_patients(tmp_path / "set", **{"patients": 4, "slices": 2, "size": 64, **given})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_rejected_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_text("kept", encoding="utf-8")
    message = f'expected "{tmp_path}" to be new or an empty folder, found "scan.dcm" in it; choose another folder'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        generate_patients(tmp_path, patients=4, slices=2, size=64)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("sys.modules['pydicom'] = None", "none"),
        ("import pydicom; sys.modules['pydicom.pixels.utils'] = None; pydicom.__version__ = '2.4.4'", "2.4.4"),
    ],
)
def test_dicom_without_pydicom_3_names_the_extra_and_writes_nothing(before: str, found: str, tmp_path: Path) -> None:
    code = (
        f"import sys; {before}\nfrom pathlib import Path\n"
        "from ctonnx.errors import DataError\nfrom ctonnx_train.data.phantom.patient_set import generate_patients\n"
        "try:\n    generate_patients(Path('set'), patients=4, image_format='dicom')\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f'expected pydicom 3 or newer for DICOM phantoms, found {found}; pip install "ctonnx[dicom]"\n'
    )
    assert list(tmp_path.iterdir()) == []
