"""Class names: one name for all spellings in the public datasets, and other names unchanged."""

import pytest

from ctonnx.errors import DataError
from ctonnx_train.data.layouts.class_names import class_name, reject_collisions


@pytest.mark.parametrize(
    ("long", "short", "canonical"),
    [
        ("adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib", "adenocarcinoma", "adenocarcinoma"),
        ("large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa", "large.cell.carcinoma", "large cell carcinoma"),
        ("squamous.cell.carcinoma_left.hilum_T1_N2_M0_IIIa", "squamous.cell.carcinoma", "squamous cell carcinoma"),
        ("normal", "normal", "normal"),
    ],
)
def test_the_two_spellings_of_the_kaggle_set_are_one_class(long: str, short: str, canonical: str) -> None:
    assert class_name(long) == class_name(short) == canonical


@pytest.mark.parametrize(
    ("folder", "canonical"),
    [("Bengin cases", "benign"), ("Malignant cases", "malignant"), ("Normal cases", "normal")],
)
def test_folders_of_iq_oth_nccd_lose_the_word_cases_and_the_misspelling(folder: str, canonical: str) -> None:
    assert class_name(folder) == canonical


@pytest.mark.parametrize(
    "folder",
    [
        "large cell carcinoma",
        "Large_Cell_Carcinoma",
        "LARGE.CELL.CARCINOMA",
        "large-cell-carcinoma",
        "  large  cell - carcinoma ",
        "Large.Cell.Carcinoma_RIGHT.HILUM_t2_n2_m0_IIIA",
        "large.cell.carcinoma case",
    ],
)
def test_case_and_separators_do_not_make_another_class(folder: str) -> None:
    assert class_name(folder) == "large cell carcinoma"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("bengin", "benign"),
        ("bengin nodule", "bengin nodule"),
        ("cases", "cases"),
        ("showcases", "showcases"),
        ("cases of interest", "cases of interest"),
        ("normal_left.lung", "normal left lung"),
        ("nodule_T2", "nodule t2"),
        ("adenocarcinoma_T2_N0_M0_Ib", "adenocarcinoma t2 n0 m0 ib"),
        ("T2_N0_M0_Ib", "t2 n0 m0 ib"),
        ("covid-19", "covid 19"),
        ("肺癌", "肺癌"),
        ("10", "10"),
        ("_-_", "_-_"),
        ("-", "-"),
        ("HER2-", "her2-"),
        ("HER2- cases", "her2-"),
        ("ER-PR+", "er pr+"),
        ("-1", "-1"),
        ("grade_-1", "grade -1"),
        ("-0.5", "-0.5"),
        ("0-5", "0 5"),
        ("01.normal", "01 normal"),
        ("Cafe\u0301", "caf\xe9"),
        ("\ufb01brosis", "fibrosis"),
        ("\uff26ibrosis", "fibrosis"),
        ("Gro\xdfer Herd", "grosser herd"),
        ("GROSSER HERD", "grosser herd"),
    ],
)
def test_only_a_place_with_a_stage_and_a_final_word_cases_are_dropped(folder: str, name: str) -> None:
    assert class_name(folder) == name


def test_a_canonical_name_is_its_own_canonical_name() -> None:
    for folder in ("Bengin cases", "large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa", "Normal", "HER2-", "-0.5"):
        assert class_name(class_name(folder)) == class_name(folder)


@pytest.mark.parametrize(
    "folders",
    [
        ("ca+", "ca"),
        ("HER2+", "HER2-"),
        ("-1", "1"),
        ("0.5", "0 5", "05"),
        ("Bengin cases", "benign"),
        ("adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib", "adenocarcinoma"),
    ],
)
def test_names_that_distinguish_classes_and_known_additions_do_not_collide(folders: tuple[str, ...]) -> None:
    reject_collisions(folders, "data")


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("Grosse", "gro\xdfe"), "which are both read as the class 'grosse'"),
        (("x_a.b_T1_N0_M0_Ia", "x_a.c_T2_N0_M0_Ib"), "which are both read as the class 'x'"),
        (("Grade 1", "grade_1"), "which are both read as the class 'grade 1'"),
        (("HER2", "HER2-"), "which differ only in a minus"),
    ],
)
def test_names_that_would_be_one_class_collide(folders: tuple[str, str], found: str) -> None:
    message = (
        f"expected class folders with distinct names in 'data', found '{folders[0]}' and '{folders[1]}', {found}; "
        "rename one, or give each its class: --class-name 'FOLDER=NAME'"
    )
    with pytest.raises(DataError) as caught:
        reject_collisions(folders, "data")
    assert str(caught.value) == message


def test_names_that_look_alike_in_two_encodings_are_shown_in_ascii() -> None:
    with pytest.raises(DataError, match=r"found 'fibrosis' and '\\ufb01brosis', which are one name in two encodings"):
        reject_collisions(["\ufb01brosis", "fibrosis"], "data")
