"""Codes of classes from a site's table, and private codes."""

from pathlib import Path

import pytest

from ctonnx.errors import CtonnxError
from ctonnx.server.pacs.results.codes import ClassCodes, private_code

CLASSES = ("normal", "tumor")
HEAD = "class,scheme,value,meaning\n"


def read(tmp_path: Path, text: str) -> ClassCodes:
    file = tmp_path / "codes.csv"
    file.write_text(text, encoding="utf-8")
    return ClassCodes.read(file, CLASSES)


def facts(codes: ClassCodes, name: str) -> tuple[str, str, str]:
    code = codes.of(name)
    return code.scheme_designator, code.value, code.meaning


def test_class_of_the_table_has_its_code_and_others_a_private_one(tmp_path: Path) -> None:
    text = "\ufeffnote,Class,scheme,value,meaning\n\n,tumor, SCT ,363358000,Malignant tumor of lung\n"
    codes = read(tmp_path, text)
    assert facts(codes, "tumor") == ("SCT", "363358000", "Malignant tumor of lung")
    assert facts(codes, "normal") == facts(ClassCodes(), "normal") == ("99CTONNX", "class-317b32c143", "normal")
    assert codes.parts == ["tumor", "SCT", "363358000", "Malignant tumor of lung"]
    assert codes.schemes == set()


def test_private_scheme_of_a_site_is_named(tmp_path: Path) -> None:
    assert read(tmp_path, f"{HEAD}tumor,99SITE,T1,Tumor\n").schemes == {"99SITE"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("tumour,SCT,363358000,Tumor", "expected a class of the model (normal, tumor), found 'tumour'"),
        ("tumor,S CT,363358000,Tumor", "expected a scheme of 1 to 16 letters and digits, such as SCT, found 'S CT'"),
        ("tumor,99SITE,,Tumor", "expected a value of 1 to 64 letters and digits, found ''"),
        (
            "tumor,SCT,363358001,Tumor",
            "expected a SNOMED CT identifier with its check digit, found '363358001'; import it as text",
        ),
        (
            "tumor,SCT,3.6336E+08,Tumor",
            "expected a SNOMED CT identifier with its check digit, found '3.6336E+08'; import it as text",
        ),
        ("tumor,SCT,363358000", "expected a meaning of 1 to 64 letters, found ''"),
        (f"tumor,SCT,363358000,{'x' * 65}", f"expected a meaning of 1 to 64 letters, found '{'x' * 65}'"),
        ("normal,SCT,17621005,Again", "expected each class once, found 'normal' again"),
    ],
)
def test_wrong_row_is_named_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    with pytest.raises(CtonnxError) as error:
        read(tmp_path, f"{HEAD}normal,SCT,17621005,Normal\n{row}\n")
    assert str(error.value) == f"{tmp_path / 'codes.csv'}, line 3: {reason}"


def test_file_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CtonnxError, match=r"line 1: expected the columns class, scheme, value, meaning, found a, b"):
        read(tmp_path, "a,b\n")
    with pytest.raises(CtonnxError, match=r"line 1: expected the columns .*, found none"):
        read(tmp_path, "")
    with pytest.raises(CtonnxError, match=r"cannot read it \(no such file"):
        ClassCodes.read(tmp_path / "missing.csv", CLASSES)
    (tmp_path / "latin.csv").write_bytes("class,scheme,value,meaning\nüber".encode("latin-1"))
    with pytest.raises(CtonnxError, match=r"cannot read it \(it is not UTF-8\)"):
        ClassCodes.read(tmp_path / "latin.csv", CLASSES)


def test_long_name_of_a_class_is_cut_to_what_a_meaning_may_have() -> None:
    name = "a\\b\n" + "x" * 80
    code = ClassCodes().of(name)
    assert code.meaning == ("a/b/n" + "x" * 80)[:64]
    assert ClassCodes().of(name + "y").value != code.value
    assert private_code("refer", "Refer").scheme_designator == "99CTONNX"
