"""A labels file describes a dataset; its faults are counted and named with their lines, never with an identifier."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import ImagesIn

from ctonnx.errors import DataError
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.layouts.labels_file import labels_in, read_labels_file
from ctonnx_train.data.splits import SPLITS, Sample

KEY = bytes(32)
PLAIN = "path,label\nx/scan 0.png,normal\nx/scan 1.png,tumour\ny/scan 0.png,tumour\n"


@pytest.fixture
def root(images_in: ImagesIn, tmp_path: Path) -> Path:
    return images_in(tmp_path, {"x": 2, "y": 1})


def test_localizers_need_no_row_and_other_images_do(root: Path, dicom_file: bytes) -> None:
    from pydicom import dcmread

    scan = dcmread(io.BytesIO(dicom_file))
    scan.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    (root / "study").mkdir()
    scan.save_as(root / "study" / "IM1")
    data = read(root, PLAIN)
    assert data.notes == ("left out: 1 localizer without a row ('study/IM1' first)",)
    assert len(data.samples) == 3
    scan.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    scan.save_as(root / "study" / "IM1")
    with pytest.raises(DataError, match="found 1 image without a row"):
        read(root, PLAIN)


def test_phantoms_are_synthetic_with_a_labels_file_too(root: Path) -> None:
    assert not read(root, PLAIN).synthetic
    (root / "phantom.json").write_text('{"synthetic": true}', encoding="utf-8")
    data = read(root, PLAIN)
    assert data.synthetic
    assert data.notes == ()


def read(root: Path, text: str | bytes, **options: Any) -> Dataset:
    file = root / "labels.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_labels_file(file, root, **options)


def rejected(root: Path, text: str | bytes, message: str, **options: Any) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read(root, text, **options)


def faulty(root: Path, text: str, found: str) -> None:
    message = (
        f"expected a row for each image and an image for each row in '{root / 'labels.csv'}', found {found}; "
        "correct the file, or move images that do not belong to the dataset to another folder"
    )
    rejected(root, text, message)


def test_file_is_read_as_a_dataset(root: Path) -> None:
    data = read(root, PLAIN)
    assert data.classes == ("normal", "tumour")
    assert data.splits["train"] == (Sample("x/scan 0.png", 0), Sample("x/scan 1.png", 1), Sample("y/scan 0.png", 1))
    assert data.to_make == ("valid", "test")
    assert (data.labels_file, data.passed_over, data.notes) == (root / "labels.csv", 0, ())
    assert data == read_data(root, labels=root / "labels.csv")
    assert labels_in(root / "labels.csv") == {"normal", "tumour"}


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("path,label", " Path ,LABEL"),
        PLAIN.replace("x/scan 0.png", '"x/scan 0.png"') + "\n,\n",
        PLAIN.replace("x/", "x\\"),
        PLAIN.replace("x/", "./y/../x/"),
    ],
)
def test_spellings_of_spreadsheets_are_the_same_dataset(root: Path, text: str | bytes) -> None:
    assert read(root, text).splits == read(root, PLAIN).splits


def test_splits_of_the_file_are_kept_under_any_name_that_a_folder_may_have(root: Path) -> None:
    text = "path,label,split\nx/scan 0.png,a,Training\nx/scan 1.png,b,training\ny/scan 0.png,a,VAL\n"
    data = read(root, text)
    assert {split: [path for path, _ in data.splits[split]] for split in SPLITS} == {
        "train": ["x/scan 0.png", "x/scan 1.png"],
        "valid": ["y/scan 0.png"],
        "test": [],
    }
    assert data.to_make == ()
    assert read(root, text.replace("VAL", "test")).to_make == ("valid",)


@pytest.mark.parametrize(
    ("columns", "rows", "found"),
    [
        ("study", ["P,1.2", "P,", "Q,"], "1 row without a study, which other rows of its patient have (line 3)"),
        (
            "series",
            ["P,", "P,1", "P,"],
            "2 rows without a series, which other rows of their study have (line 2, line 4)",
        ),
        (
            "study,series",
            ["P,1,1", "P,1,", "Q,,"],
            "1 row without a series, which other rows of its study have (line 3)",
        ),
        ("study,series", ["P,1,1", "P,2,", "Q,,"], ""),
        ("study", ["P,1.2", "P,1.2", "Q,"], ""),
    ],
)
def test_study_and_series_are_in_all_rows_of_a_patient_or_in_none(
    root: Path, columns: str, rows: list[str], found: str
) -> None:
    """Else the rows without would be a rival study, and the patient's class might be theirs."""
    lines = [f"{line},{row}" for line, row in zip(PLAIN.split("\n")[1:4], rows, strict=True)]
    text = "\n".join([f"path,label,patient,{columns}", *lines])
    if found:
        faulty(root, text, found)
    else:
        assert len(read(root, text).samples) == 3


def test_identifiers_are_pseudonyms_and_other_columns_subgroups(root: Path) -> None:
    text = (
        "path,label,patient,study,series,sex,age,site,scanned\n"
        "x/scan 0.png,a,0042,1.2,1.2.3,F,63,A,2020-01-02\n"
        "x/scan 1.png,b,0042,1.2,1.2.4,F,64,A,2020-01-03\n"
        "y/scan 0.png,b,0043,,,M,95,A,2020-01-03\n"
    )
    names = Pseudonyms(KEY)
    data = read(root, text, pseudonyms=names)
    patients = data.labelled_patients
    assert patients is not None
    assert patients.names == {
        **dict.fromkeys(("x/scan 0.png", "x/scan 1.png"), names.of("patient", "0042")),
        "y/scan 0.png": names.of("patient", "0043"),
    }
    assert patients.studies["x/scan 0.png"] == names.of("study", "1.2")
    assert patients.series["x/scan 1.png"] == names.of("series", "1.2.4")
    assert patients.subgroups == {
        "sex": {"x/scan 0.png": "F", "x/scan 1.png": "F", "y/scan 0.png": "M"},
        "age": {"x/scan 0.png": "60-69", "x/scan 1.png": "60-69", "y/scan 0.png": "90+"},
    }
    assert data.notes == ("column 'scanned' has dates and is not used as a subgroup",)
    assert "0042" not in repr(data)


def test_column_with_many_values_is_no_subgroup(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, {"x": 21})
    rows = "".join(f"x/scan {number}.png,{'ab'[number % 2]},name {number}\n" for number in range(21))
    assert read(tmp_path, f"path,label,called\n{rows}").notes == (
        "column 'called' has 21 values and is not used as a subgroup",
    )


@pytest.mark.parametrize("column", ["name", "Patient Name", "birth_year", "accession", "scan id", "study date"])
def test_column_that_may_identify_patients_is_no_subgroup(column: str, root: Path) -> None:
    data = read(root, f"path,label,{column}\nx/scan 0.png,a,p\nx/scan 1.png,b,q\ny/scan 0.png,b,p\n")
    assert data.notes == (f"column '{column.lower()}' may identify patients and is not used as a subgroup",)


@pytest.mark.parametrize(
    "date",
    ["1950-03-02T10:00", "20210304101500", "1950/3/2", "03-MAR-1950", "2 Mar 1950", "March 1950", "1.3.50", "19500302"],
)
def test_column_with_dates_is_no_subgroup(date: str, root: Path) -> None:
    data = read(root, f"path,label,seen\nx/scan 0.png,a,{date}\nx/scan 1.png,b,x\ny/scan 0.png,b,{date}\n")
    assert data.notes == ("column 'seen' has dates and is not used as a subgroup",)


def test_column_with_many_numbers_is_no_subgroup(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, {"x": 7})
    rows = "".join(f"x/scan {number}.png,{'ab'[number % 2]},{104400 + number}\n" for number in range(7))
    assert read(tmp_path, f"path,label,chart\n{rows}").notes == (
        "column 'chart' has 7 different numbers and is not used as a subgroup",
    )


@pytest.mark.parametrize("column", ["PatientID", "patient_id", "Patient ID", "subject", "MRN"])
def test_other_names_of_the_patient_are_read(column: str, root: Path) -> None:
    data = read(root, f"path,label,{column}\nx/scan 0.png,a,1\nx/scan 1.png,b,1\ny/scan 0.png,b,2\n")
    assert data.labelled_patients is not None
    assert len(set(data.labelled_patients.names.values())) == 2
    assert not data.labelled_patients.subgroups


def test_row_without_a_patient_is_named_where_others_have_one(root: Path) -> None:
    with pytest.raises(DataError, match=r"found 1 row without a patient \(line 3\)"):
        read(root, "path,label,patient\nx/scan 0.png,a,1\nx/scan 1.png,b,\ny/scan 0.png,b,2\n")


def test_first_line_that_is_no_header_is_not_quoted(root: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(root, "x/scan 0.png,a,smith^john,19500101\n")
    assert "smith" not in str(caught.value)
    assert "found 4 columns without 'path', 'label'" in str(caught.value)


def test_class_names_apply_to_labels(root: Path) -> None:
    data = read(root, PLAIN.replace("tumour", "Bengin cases"), class_names={"normal": "healthy"})
    assert data.classes == ("benign", "healthy")
    assert data.folder_classes == {"Bengin cases": "benign", "normal": "healthy"}
    rejected(
        root,
        PLAIN,
        f"expected a label named 'lung' in '{root / 'labels.csv'}', found 'normal', 'tumour'; check --class-name",
        class_names={"lung": "normal"},
    )


def test_rows_and_images_must_match_and_are_named_with_their_lines(root: Path) -> None:
    faulty(root, PLAIN + "x/scan 7.png,normal\n", "1 row without a file (line 5: 'x/scan 7.png')")
    more = "".join(f"x/scan {number}.png,normal\n" for number in range(5, 10))
    faulty(
        root,
        PLAIN + more,
        "5 rows without a file (line 5: 'x/scan 5.png', line 6: 'x/scan 6.png', line 7: 'x/scan 7.png' and 2 more)",
    )
    faulty(root, PLAIN + "./x/scan 1.png,normal\n", "1 second row for a file (lines 3 and 5: './x/scan 1.png')")
    faulty(
        root,
        "path,label\nx/scan 0.png,normal\n,tumour\n",
        "1 row without a path (line 3); 2 images without a row ('x/scan 1.png', 'y/scan 0.png')",
    )


def test_rows_of_which_none_has_a_file_are_relative_to_another_folder(root: Path) -> None:
    """As where the labels file was moved away from the images."""
    where = f"(paths are relative to '{root}')"
    faulty(
        root,
        "path,label\na/1.png,normal\nb/2.png,tumour\n",
        f"2 rows without a file {where} (line 2: 'a/1.png', line 3: 'b/2.png'); 3 images without a row "
        "('x/scan 0.png', 'x/scan 1.png', 'y/scan 0.png')",
    )


def test_labels_and_splits_must_be_known_and_are_named_with_their_lines(root: Path) -> None:
    faulty(root, PLAIN.replace("normal", ""), "1 row without a label (line 2)")
    with_splits = "path,label,split\nx/scan 0.png,a,train\nx/scan 1.png,b,trial\ny/scan 0.png,b,\n"
    faulty(
        root,
        with_splits,
        "1 unknown split, expected train, valid or test (line 3: 'trial'); 1 row without a split (line 4)",
    )
    faulty(
        root,
        PLAIN.replace("tumour\ny", "tumour,1\ny"),
        "1 row with another number of fields than the header's 2 (line 3: 3)",
    )


def test_a_row_after_a_field_of_several_lines_is_named_with_its_own_line(root: Path) -> None:
    text = 'path,label,note\nx/scan 0.png,a,"one\ntwo"\nx/scan 1.png,b,\ny/scan 0.png,,\n'
    faulty(root, text, "1 row without a label (line 5)")


def test_rows_outside_of_the_named_folder_are_reported(root: Path) -> None:
    (root / "labels.csv").write_text(PLAIN, encoding="utf-8")
    with pytest.raises(DataError, match=r"found 1 row outside of '.*x' \(line 4: 'y/scan 0.png'\);"):
        read_labels_file(root / "labels.csv", root / "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header with the columns 'path' and 'label' in line 1 of '{file}', found none"),
        (
            "file,label\n",
            "expected the columns 'path' and 'label' in line 1 of '{file}', found 2 columns without 'path'; name the "
            "columns in the first line",
        ),
        ("path,label,label\n", "expected each column once in line 1 of '{file}', found 'label' twice"),
        ("path,label\n", "expected a row for each image in '{file}', found only the header"),
        (
            PLAIN.replace("tumour", "tumör").encode("latin-1"),
            "expected UTF-8 in '{file}', found another encoding in line 3; save it as 'CSV UTF-8'",
        ),
        (PLAIN.encode("utf-16"), "expected UTF-8 in '{file}', found UTF-16; save it as 'CSV UTF-8'"),
        (
            PLAIN.replace("tumour", "normal"),
            "expected training images of two or more classes in '{file}', found 'normal'; check the columns 'label' "
            "and 'split'",
        ),
    ],
)
def test_other_files_are_rejected(root: Path, text: str | bytes, message: str) -> None:
    rejected(root, text, message.format(file=root / "labels.csv"))


def test_broken_quotes_and_missing_files_are_rejected(root: Path) -> None:
    with pytest.raises(DataError, match=r"found a fault in line 4 \(unexpected end of data\)"):
        read(root, PLAIN.replace("y/scan", '"y/scan'))
    (root / "labels.csv").unlink()
    with pytest.raises(DataError, match=r"^expected a labels file at '.*labels.csv', found none .*; check --labels$"):
        read_labels_file(root / "labels.csv", root)


def test_labels_that_differ_in_spelling_only_are_reported(root: Path) -> None:
    with pytest.raises(DataError, match="found 'TUMOUR' and 'tumour', which are both read as the class 'tumour'"):
        read(root, PLAIN.replace("tumour", "TUMOUR", 1))


def test_classes_of_a_model_need_not_all_be_there(root: Path) -> None:
    data = read(root, PLAIN, classes=("normal", "other", "tumour"))
    assert {label for _, label in data.samples} == {0, 2}
    with pytest.raises(DataError, match=r"^expected only the model's classes"):
        read(root, PLAIN, classes=("normal", "other"))


def test_other_files_are_counted(root: Path) -> None:
    (root / "notes.txt").write_text("text", encoding="utf-8")
    data = read(root, PLAIN)
    assert (data.passed_over, data.notes) == (1, ("skipped: 1 other file ('notes.txt' first)",))
