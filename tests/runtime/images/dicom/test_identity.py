"""The identity of a DICOM file is read from its header, as pseudonyms, and a damaged header empties its fields."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import HU, encoded, make  # noqa: E402 - it needs pydicom

from ctonnx.images.dicom import identity as module  # noqa: E402 - it needs pydicom
from ctonnx.images.dicom.identity import Identity, read_identity  # noqa: E402 - it needs pydicom

AXIAL = [1, 0, 0, 0, 1, 0]
COMPLETE: dict[str, Any] = {
    "PatientID": "GEHEIM 42",
    "PatientBirthDate": "19500630",
    "PatientSex": "F",
    "StudyDate": "20200629",
    "StudyInstanceUID": "1.2.3.4",
    "SeriesInstanceUID": "1.2.3.4.5",
    "InstanceNumber": 7,
    "ImagePositionPatient": [-200, -180, -312.5],
    "ImageOrientationPatient": AXIAL,
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SliceThickness": 1.25,
    "ConvolutionKernel": ["B70f", "3"],
    "Manufacturer": "SIEMENS",
    "PixelSpacing": [0.7, 0.6],
}


def name(kind: str, identifier: str) -> str:
    return f"{kind} {identifier}" if identifier else ""


def identity(tmp_path: Path, **elements: Any) -> Identity:
    (tmp_path / "a.dcm").write_bytes(encoded(make(**elements)))
    found = read_identity(tmp_path / "a.dcm", name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless]
)
def test_header_gives_patient_place_and_scanner(tmp_path: Path, syntax: str) -> None:
    data = make(HU.byteswap() if syntax == uid.ExplicitVRBigEndian else HU, **COMPLETE)
    if syntax == uid.RLELossless:
        data.compress(syntax)
    data.file_meta.TransferSyntaxUID = syntax
    (tmp_path / "a.dcm").write_bytes(encoded(data))
    assert read_identity(tmp_path / "a.dcm", name) == Identity(
        patient="patient GEHEIM 42",
        study="study 1.2.3.4",
        series="series 1.2.3.4.5",
        position=-312.5,
        instance=7,
        plane="axial",
        kernel="B70f 3",
        thickness=1.25,
        manufacturer="SIEMENS",
        sex="F",
        age=69,
        modality="CT",
        spacing=(0.7, 0.6),
        image=f"image {data.SOPInstanceUID}",
    )


def both_ways(file: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Identity | None, Identity | None]:
    """Returns the identity as it is read, and as pydicom reads it."""
    found = read_identity(file, name)
    with monkeypatch.context() as patched:
        patched.setattr(module, "read_plain_values", lambda *arguments: None)
        return found, read_identity(file, name)


def test_usual_file_is_read_without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dcm").write_bytes(encoded(make(**COMPLETE)))
    found, by_pydicom = both_ways(tmp_path / "a.dcm", monkeypatch)
    assert found == by_pydicom
    monkeypatch.setattr(module, "read_data_set", lambda *arguments, **options: pytest.fail("read by pydicom"))
    assert read_identity(tmp_path / "a.dcm", name) == found


def test_damaged_header_is_read_as_by_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoded(make(**COMPLETE))
    draw, end = np.random.default_rng(4), whole.index(b"\xe0\x7f\x10\x00")
    for _ in range(150):
        data, place = bytearray(whole), int(draw.integers(132, end))
        cut, added = draw.choice((0, 0, 1, 2)), int(draw.choice((1, 1, 2)))
        data[place : place + cut] = draw.bytes(1) * added
        (tmp_path / "a.dcm").write_bytes(data)
        found, by_pydicom = both_ways(tmp_path / "a.dcm", monkeypatch)
        assert found == by_pydicom


def test_other_files_are_no_dicom_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    assert read_identity(tmp_path / "a.png", name) is None
    assert read_identity(tmp_path / "missing.dcm", name) is None


@pytest.mark.parametrize(
    ("elements", "age"),
    [
        ({"PatientAge": "063Y"}, 63),
        ({"PatientAge": "018M"}, 1),
        ({"PatientAge": "010W"}, 0),
        ({"PatientAge": "400D"}, 1),
        ({"PatientBirthDate": "19500629"}, 70),
        ({"StudyDate": "", "ContentDate": "20210101"}, 70),
        ({"StudyDate": "1949.01.01"}, None),
        ({"PatientBirthDate": "unknown"}, None),
        ({"PatientBirthDate": None}, None),
    ],
)
def test_age_is_the_stated_one_or_that_at_the_study(tmp_path: Path, elements: dict[str, Any], age: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns when it writes some of these
        complete = {keyword: value for keyword, value in COMPLETE.items() if elements.get(keyword, "") is not None}
        kept = {keyword: value for keyword, value in elements.items() if value is not None}
        assert identity(tmp_path, **{**complete, **kept}).age == age


@pytest.mark.parametrize(
    ("orientation", "plane", "position"),
    [
        (AXIAL, "axial", 30),
        ([-1, 0, 0, 0, 1, 0], "axial", 30),  # mirrored: the position still increases towards the head
        ([1, 0, 0, 0, 0.906, -0.423], "axial", 35.6),  # a gantry tilt of 25 degrees
        ([1, 0, 0, 0, 0, -1], "coronal", 20),
        ([0, 1, 0, 0, 0, -1], "sagittal", 10),
        ([1, 0, 0, 0, 0.707, 0.707], "oblique", None),
        ([1, 0, 0, 1, 0, 0], None, None),  # two equal directions define none
    ],
)
def test_plane_and_position_are_those_of_the_normal(
    tmp_path: Path, orientation: list[float], plane: str | None, position: float | None
) -> None:
    found = identity(tmp_path, ImageOrientationPatient=orientation, ImagePositionPatient=[10, 20, 30])
    assert found.plane == plane
    if position is not None:
        assert found.position == pytest.approx(position, abs=0.1)


def test_localizers_frames_and_foreign_modalities_are_named(tmp_path: Path) -> None:
    found = identity(tmp_path, pixels=np.stack([HU, HU]), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert (found.is_localizer, found.frames) == (True, 2)
    assert identity(tmp_path, Modality="GEHEIM").modality == "other"


def test_enhanced_image_has_what_all_its_frames_share(tmp_path: Path) -> None:
    measures, orientation, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.5], 2
    orientation.ImageOrientationPatient = AXIAL
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    found = identity(tmp_path, SharedFunctionalGroupsSequence=[shared])
    assert (found.spacing, found.thickness, found.plane) == ((0.5, 0.5), 2, "axial")


@pytest.mark.parametrize(
    ("value", "field"),
    [(b"7 ", "instance"), (b"1.25", "thickness"), (b"-312.5", "position"), (b"063Y", "age"), (b"0.7\\0.6 ", "spacing")],
)
def test_damaged_element_leaves_its_field_empty_and_is_not_quoted(
    tmp_path: Path, value: bytes, field: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded(make(**{**COMPLETE, "PatientAge": "063Y", "PatientBirthDate": ""}))
    assert value in data
    (tmp_path / "a.dcm").write_bytes(data.replace(value, b"GEHEIM^P"[: len(value)]))
    with warnings.catch_warnings(record=True) as warned:
        found = read_identity(tmp_path / "a.dcm", name)
    assert found is not None
    assert getattr(found, field) is None
    assert found.study == "study 1.2.3.4"
    assert not any("GEHE" in str(warning.message) for warning in warned)
    assert "GEHE" not in caplog.text + "".join(capsys.readouterr())


def test_truncated_header_has_the_elements_before_its_end(tmp_path: Path) -> None:
    data = encoded(make(**COMPLETE))
    for length in range(132, len(data) - HU.nbytes, 37):
        (tmp_path / "a.dcm").write_bytes(data[:length])
        assert read_identity(tmp_path / "a.dcm", name) is not None


def test_identifier_in_another_encoding_still_has_a_pseudonym(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(encoded(make(PatientID="4711")).replace(b"4711", b"\xff\xfe71"))
    found = read_identity(tmp_path / "a.dcm", name)
    assert found is not None
    assert found.patient.endswith("71")
