"""Datasets are read by their actual encoding, and their errors name the defect."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.images import load
from ctonnx.images.formats import is_image

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import HU, LUNG, encoded, error_of, grey_of, make  # noqa: E402 - it needs pydicom

from ctonnx.images.dicom.dataset import offset_of_data_set, read_data_set, read_plain_values  # noqa: E402 - it needs pydicom

PLAIN = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
COMPRESSED = [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless]


def parts(syntax: str, **elements: Any) -> tuple[bytes, bytes]:
    """Returns a file's preamble with its File Meta Information, and its dataset."""
    image = make(HU.byteswap() if syntax == uid.ExplicitVRBigEndian else HU, syntax=syntax, **elements)
    data = encoded(image)
    end = 144 + int.from_bytes(data[140:144], "little")
    return data[:end], data[end:]


@pytest.mark.parametrize("label", [*PLAIN, uid.DeflatedExplicitVRLittleEndian, *COMPRESSED, "1.2.3.4"])
@pytest.mark.parametrize("syntax", PLAIN)
def test_label_of_another_encoding_changes_no_pixel(syntax: str, label: str) -> None:
    meta = make(syntax=label)
    meta.file_meta.TransferSyntaxUID = label
    head = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(head, complete(meta), enforce_standard=True)
    data = bytes(128) + b"DICM" + head.getvalue() + parts(syntax)[1]
    np.testing.assert_array_equal(grey_of(data), LUNG)


def complete(dataset: Any) -> Any:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset.file_meta


@pytest.mark.parametrize("label", PLAIN)
def test_deflated_dataset_is_read_with_any_label(label: str) -> None:
    head = parts(label)[0]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = squeeze.compress(parts(uid.ExplicitVRLittleEndian)[1]) + squeeze.flush()
    np.testing.assert_array_equal(grey_of(head + body), LUNG)


def test_damaged_deflated_dataset_is_an_error() -> None:
    head = parts(uid.DeflatedExplicitVRLittleEndian)[0]
    expected = "damaged DICOM file: its TransferSyntaxUID is for deflated data, but it cannot be inflated"
    assert error_of(head + b"\xff" * 400) == expected


@pytest.mark.parametrize("length", [0, 2, 60, 10_000, 0xFFFFFFFF])
@pytest.mark.parametrize("syntax", PLAIN)
def test_wrong_group_length_changes_no_pixel(syntax: str, length: int) -> None:
    head, body = parts(syntax)
    wrong = head[:140] + length.to_bytes(4, "little") + head[144:]
    np.testing.assert_array_equal(grey_of(wrong + body), LUNG)


@pytest.mark.parametrize("keyword", ["FileMetaInformationGroupLength", "TransferSyntaxUID", "MediaStorageSOPClassUID"])
@pytest.mark.parametrize("syntax", PLAIN)
def test_missing_element_of_the_meta_information_changes_no_pixel(syntax: str, keyword: str) -> None:
    head, body = parts(syntax)
    meta = pydicom.filereader.read_dataset(io.BytesIO(head[132:]), False, True)
    delattr(meta, keyword)
    left = io.BytesIO()
    writer = pydicom.filebase.DicomFileLike(left)
    writer.is_implicit_VR, writer.is_little_endian = False, True
    pydicom.filewriter.write_dataset(writer, meta)
    np.testing.assert_array_equal(grey_of(head[:132] + left.getvalue() + body), LUNG)


@pytest.mark.parametrize("before", [b"", b"DICM", bytes(128) + b"DICM"], ids=["nothing", "mark", "preamble"])
@pytest.mark.parametrize("syntax", PLAIN)
def test_dataset_without_meta_information_is_read_from_bytes_and_files(
    syntax: str, before: bytes, tmp_path: Path
) -> None:
    data = before + parts(syntax)[1]
    np.testing.assert_array_equal(grey_of(data), LUNG)
    (tmp_path / "IM0001").write_bytes(data)
    assert is_image(tmp_path / "IM0001")


def test_command_group_before_the_dataset_is_skipped() -> None:
    command = b"\0\0\0\0\x04\0\0\0\x0a\0\0\0" + b"\0\0\0\x01\x02\0\0\0\x01\0"
    np.testing.assert_array_equal(grey_of(bytes(128) + b"DICM" + command + parts(PLAIN[0])[1]), LUNG)


@pytest.mark.parametrize("label", COMPRESSED)
def test_uncompressed_pixels_of_wrong_size_under_a_compressed_label_are_an_error(label: str) -> None:
    head = encoded(fragments(label))[: 144 + int.from_bytes(encoded(fragments(label))[140:144], "little")]
    body = parts(uid.ExplicitVRLittleEndian, PixelData=HU.tobytes()[:-100])[1]
    expected = "damaged DICOM file: its TransferSyntaxUID is for compressed pixels, but its pixels are uncompressed"
    assert error_of(head + body) == expected


def fragments(syntax: str) -> Any:
    image = make(syntax=syntax, PixelData=pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"]))
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    return image


@pytest.mark.parametrize("label", PLAIN)
def test_compressed_pixels_under_an_uncompressed_label_are_an_error(label: str) -> None:
    data = encoded(fragments(uid.JPEGLSLossless))
    body = data[144 + int.from_bytes(data[140:144], "little") :]
    expected = "damaged DICOM file: its TransferSyntaxUID is for uncompressed pixels, but its pixels are compressed"
    assert error_of(parts(label)[0] + body) == expected


def test_compressed_pixels_without_a_label_are_an_error() -> None:
    data = encoded(fragments(uid.JPEGLSLossless))
    body = data[144 + int.from_bytes(data[140:144], "little") :]
    expected = "damaged DICOM file: its encoding is unknown: it has no TransferSyntaxUID"
    assert error_of(body) == expected


def test_dataset_has_its_label_and_its_actual_encoding() -> None:
    data = parts(uid.ExplicitVRLittleEndian)[0] + parts(uid.ImplicitVRLittleEndian)[1]
    found = read_data_set(io.BytesIO(data), len(data), "scan")
    assert (found.label, found.plain) == (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
    assert found.pixels is not None
    assert (found.pixels.keyword, found.pixels.vr, found.pixels.length) == ("PixelData", None, HU.nbytes)
    assert data[found.pixels.begin :] == HU.tobytes()
    assert (found.size, found.header.Rows) == (len(data), 30)


def test_sequences_of_a_mislabelled_file_are_read() -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [4, 0, 16], "HU"
    item.add_new("LUTData", "US", [0, 40, 80, 120])
    stored = np.arange(4, dtype=np.uint16).reshape(2, 2)
    lut: dict[str, Any] = {"ModalityLUTSequence": [item], "RescaleSlope": None, "RescaleIntercept": None}
    for syntax, label in (PLAIN[:2], PLAIN[1::-1]):
        data = encoded(make(stored, syntax=syntax, **lut))
        body = data[144 + int.from_bytes(data[140:144], "little") :]
        assert load(parts(label)[0] + body).image.tobytes() == load(data).image.tobytes()


KEYWORDS = ("ImageType", "Modality", "PatientID", "InstanceNumber", "PixelSpacing", "SliceThickness")
VALUES: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "PatientID": "47 11",
    "InstanceNumber": 7,
    "PixelSpacing": [0.5, 0.625],
    "SliceThickness": "",
}
PLAIN_VALUES = {**VALUES, "Modality": "CT"}


def sequence(depth: int) -> Any:
    """Returns a sequence of sequences; every second one has no length, as some devices write them."""
    item = pydicom.Dataset()
    item.ReferencedSOPInstanceUID = "1.2"
    if depth:
        item.ReferencedImageSequence = sequence(depth - 1)
        item["ReferencedImageSequence"].is_undefined_length = bool(depth % 2)
    item.is_undefined_length_sequence_item = depth % 3 > 0
    return pydicom.Sequence([item, item])


@pytest.mark.parametrize("has_length", [True, False])
def test_plain_values_are_those_of_pydicom_after_any_sequence(has_length: bool) -> None:
    data = make(**VALUES, ReferencedImageSequence=sequence(3))
    data["ReferencedImageSequence"].is_undefined_length = not has_length
    assert read_plain_values(io.BytesIO(encoded(data)), KEYWORDS) == PLAIN_VALUES


@pytest.mark.parametrize(
    "changes",
    [
        {"SpecificCharacterSet": "ISO_IR 13"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"]},
        {"SpecificCharacterSet": "ISO_IR 192", "PatientID": "Jürgen"},
        {"PatientID": "4\t7"},
        {"PatientComments": "x" * 9, "ReferencedImageSequence": pydicom.Sequence([pydicom.Dataset()] * 3000)},
    ],
)
def test_unusual_file_has_no_plain_values(changes: dict[str, Any]) -> None:
    assert read_plain_values(io.BytesIO(encoded(make(**{**VALUES, **changes}))), KEYWORDS) is None


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_other_encoding_has_no_plain_values(syntax: str) -> None:
    assert read_plain_values(io.BytesIO(b"".join(parts(syntax, **VALUES))), KEYWORDS) is None


def test_file_without_preamble_or_with_damage_has_no_plain_values() -> None:
    data = encoded(make(**VALUES))
    assert read_plain_values(io.BytesIO(data[132:]), KEYWORDS) is None
    assert read_plain_values(io.BytesIO(data[: data.index(b"ORIGINAL") + 4]), KEYWORDS) is None
    assert read_plain_values(io.BytesIO(data.replace(b"IS\x02\x007 ", b"IS\x02\x007x")), KEYWORDS) is None
    assert read_plain_values(io.BytesIO(data.replace(b"IS\x02\x007 ", b"LO\x02\x007 ")), KEYWORDS) is None


def test_data_set_begins_after_the_file_meta_information_whatever_its_group_length() -> None:
    head, data = parts(uid.ExplicitVRLittleEndian)
    wrong = head[:140] + b"\1\0\0\0" + head[144:]
    long = head + b"\2\0\2\1OB\0\0" + (100_000).to_bytes(4, "little") + bytes(100_000)
    without_length = head[:132] + head[144:]
    for start in (head, wrong, long, without_length, head[:132], head[128:], head[132:], b""):
        assert offset_of_data_set(io.BytesIO(start + data)) == len(start)


def test_meta_information_that_cannot_be_read_is_not_skipped() -> None:
    head, data = parts(uid.ExplicitVRLittleEndian)
    unknown = head[:136] + b"XX" + head[138:]
    endless = head + b"\2\0\2\1SQ\0\0\xff\xff\xff\xff"
    beyond = head + b"\2\0\2\1OB\0\0\xff\xff\xff\x7f"
    twice = head + head[132:]
    for file in (
        unknown + data,
        endless + data,
        beyond + data,
        twice + data,
        head,
        head[:-3],
        head[:138],
        b"",
        b"DICM",
    ):
        assert offset_of_data_set(io.BytesIO(file)) == 0
