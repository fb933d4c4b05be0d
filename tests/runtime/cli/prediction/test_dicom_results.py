"""`ctonnx predict --dicom-out`: objects of each series, notes, exit codes and privacy."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.cli.commands.predicting import assert_rejected, predict
from tests.runtime.prediction.dicom_slices import IDENTIFIERS, write_slice

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra pacs) is not installed")

from ctonnx.cli.prediction import dicom_results  # noqa: E402  # after the extras were looked for
from ctonnx.prediction.predictor import Predictor  # noqa: E402


@pytest.fixture
def disc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disc with two series of a patient, of two and three slices."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(5).integers(0, 256, (5, 64, 64)).astype(float)
    for number, pixels in enumerate(noise):
        series, z = (1, number) if number < 2 else (2, number - 2)
        write_slice(Path(f"disc/{series}/{z}"), pixels, series=series, z=5.0 * z, instance=z + 1)
    return Path("disc")


@pytest.fixture(autouse=True)
def positive(point_at: Any) -> None:
    point_at(0.0)


def modalities(folder: Path | str) -> list[str]:
    return sorted(pydicom.dcmread(file).Modality for file in Path(folder).iterdir())


def test_each_series_has_its_objects_and_a_row(disc: Path, model: Path) -> None:
    result = predict(disc, "-m", model, "--dicom-out", "out/objects", "--format", "jsonl")
    assert result.exit_code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert '"by": "series"' in result.stdout
    assert result.stderr.splitlines()[-1] == "DICOM: 6 objects (2 sr, 2 sc, 2 ko) of 2 series in out/objects"
    assert modalities("out/objects") == ["KO", "KO", "OT", "OT", "SR", "SR"]


def test_second_run_writes_the_same_files(disc: Path, model: Path) -> None:
    for name in ("first", "second"):
        assert predict(disc, "-m", model, "--dicom-out", name).exit_code == 0
    first, second = ({file.name: file.read_bytes() for file in Path(name).iterdir()} for name in ("first", "second"))
    assert first == second


def test_other_model_writes_other_uids(disc: Path, model: Path) -> None:
    other = Path("other.onnx")
    other.write_bytes(model.read_bytes())
    assert predict(disc, "-m", model, "--dicom-out", "first").exit_code == 0
    with other.open("ab") as file:
        file.write(b"\x12\x00")  # an empty field of the model: another file
    assert predict(disc, "-m", other, "--no-check", "--dicom-out", "second").exit_code == 0
    names = [{file.name for file in Path(name).iterdir()} for name in ("first", "second")]
    assert names[0] & names[1] == set()


def test_negative_series_has_no_key_images(disc: Path, model: Path, point_at: Any, monkeypatch: Any) -> None:
    point_at(1.0)
    original = Predictor.__init__

    def opened(self: Predictor, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.spec = replace(self.spec, brightness=None)

    monkeypatch.setattr(Predictor, "__init__", opened)
    result = predict(disc, "-m", model, "--dicom-out", "objects", "--suspicious-only")
    assert "DICOM: 4 objects (2 sr, 2 sc) of 2 series in objects" in result.stderr
    assert modalities("objects") == ["OT", "OT", "SR", "SR"]


@pytest.mark.parametrize(
    ("kinds", "expected"), [("sr", ["KO", "SR"]), ("SC", ["KO", "OT"]), ("sc, sr", ["KO", "OT", "SR"])]
)
def test_results_chooses_the_kinds(disc: Path, model: Path, kinds: str, expected: list[str]) -> None:
    assert predict(disc / "1", "-m", model, "--dicom-out", "objects", "--results", kinds).exit_code == 0
    assert modalities("objects") == expected


def test_results_none_writes_no_object(disc: Path, model: Path) -> None:
    result = predict(disc, "-m", model, "--dicom-out", "objects", "--results", "none")
    assert result.exit_code == 0
    assert "DICOM: 0 objects (none) of 0 series in objects" in result.stderr
    assert list(Path("objects").iterdir()) == []


@pytest.mark.parametrize("kinds", ["sr,none", "seg", "", "sr,sr"])
def test_wrong_kind_is_rejected(disc: Path, model: Path, kinds: str) -> None:
    result = predict(disc, "-m", model, "--dicom-out", "objects", "--results", kinds)
    assert_rejected(result, f"Invalid value for '--results': expected sr, sc, sr,sc or none, found '{kinds}'.")


def test_codes_are_those_of_the_table(disc: Path, model: Path) -> None:
    Path("codes.csv").write_text("class,scheme,value,meaning\nnormal,99SITE,N,No finding\n", encoding="utf-8")
    result = predict(disc, "-m", model, "--dicom-out", "objects", "--results", "sr", "--codes", "codes.csv")
    assert result.exit_code == 0
    (first, _) = (file for file in Path("objects").iterdir() if pydicom.dcmread(file).Modality == "SR")
    assert "99SITE" in [one.CodingSchemeDesignator for one in pydicom.dcmread(first).CodingSchemeIdentificationSequence]


def test_wrong_row_of_the_table_is_named(disc: Path, model: Path) -> None:
    Path("codes.csv").write_text("class,scheme,value,meaning\nlung,SCT,1,x\n", encoding="utf-8")
    result = predict(disc, "-m", model, "--dicom-out", "objects", "--codes", "codes.csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].startswith("Error: codes.csv, line 2: expected a class of the model (")
    assert not Path("objects").exists()


def test_series_without_its_objects_is_a_warning_and_exit_code_1(disc: Path, model: Path) -> None:
    data = pydicom.dcmread(disc / "1/0")
    del data.StudyInstanceUID
    data.save_as(disc / "1/0")
    result = predict(disc, "-m", model, "--dicom-out", "objects")
    assert result.exit_code == 1
    assert re.search(
        r"^warning: expected to write the objects of series '[0-9a-f]{16}', failed: expected DICOM files with the UIDs "
        r"that a result refers to, found 1 file without a valid StudyInstanceUID; its row is written$",
        result.stderr,
        re.MULTILINE,
    )
    assert "DICOM: 3 objects (1 sr, 1 sc, 1 ko) of 1 series in objects" in result.stderr


def test_nothing_that_is_printed_or_named_has_patient_data(disc: Path, model: Path) -> None:
    result = predict(disc, "-m", model, "--dicom-out", "objects")
    text = result.output + " ".join(map(str, Path("objects").rglob("*")))
    assert [word for word in IDENTIFIERS if word in text] == []
    assert pydicom.dcmread(next(Path("objects").iterdir())).PatientID == "PID-4711A"


def test_options_that_do_not_fit_are_rejected(disc: Path, model: Path, point_at: Any) -> None:
    assert_rejected(
        predict(disc, "-m", model, "--dicom-out", "objects", "--by", "patient"),
        "expected --dicom-out with --by series or without --by, found --by patient",
    )
    for option, value in (("--results", "sr"), ("--codes", "codes.csv")):
        assert_rejected(predict(disc, "-m", model, option, value), f"expected {option} with --dicom-out, found none")
    assert_rejected(
        predict(disc, "-m", model, "--dicom-out", "disc/objects"),
        "expected a folder for --dicom-out outside of 'disc', as its files are read, found 'disc/objects'",
    )
    point_at(None)
    assert_rejected(
        predict(disc, "-m", model, "--dicom-out", "objects"),
        f"expected a model with an operating point for --dicom-out, found none in '{model}'; train it on images of "
        "suspicious and other classes",
    )


def test_missing_extra_is_named(disc: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_results, "find_spec", lambda name: None)
    assert_rejected(
        predict(disc, "-m", model, "--dicom-out", "objects"),
        'expected highdicom, which makes DICOM objects, found none; pip install "ctonnx[pacs]"',
    )
