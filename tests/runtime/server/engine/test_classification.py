"""Results of a file: limits of pixels and frames, decompression bombs, DICOM."""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from tests.runtime.server.conftest import Server, encoded, multipart, running

from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.engine.classification import Decoded, Pictures, decode_next, open_frames, result_document
from ctonnx.server.settings import Limits, Settings
from ctonnx.server.transport.budgets import PixelBudget

LIMITS = Limits(pixels=10_000, files=3)
PLAIN = Pictures()
PATIENT = "Doe^Jane"


def dicom(frames: int = 1, side: int = 8) -> bytes:
    """A CT with a patient's name in it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.Modality, data.PatientName, data.PatientID = CTImageStorage, "CT", PATIENT, PATIENT
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = side, side, 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation, data.RescaleSlope, data.RescaleIntercept = 15, 0, 1, -1024
    if frames > 1:
        data.NumberOfFrames = frames
    values = np.linspace(0, 2000, frames * side * side).astype("<u2")
    data.PixelData = values.tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A small PNG with a large size in its header."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def all_of(content: bytes, predictor: Predictor, pictures: Pictures = PLAIN) -> Iterator[Decoded]:
    frames, budget = open_frames(content, predictor.spec, LIMITS), PixelBudget(LIMITS.request_pixels)
    while decoded := decode_next(frames, predictor.spec, pictures, budget):
        yield decoded


def test_image_is_decoded_and_kept_only_if_requested(predictor: Predictor, png: bytes) -> None:
    (plain,) = all_of(png, predictor)
    (shown,) = all_of(png, predictor, Pictures(scan=True))
    assert plain.pixels is not None
    assert (plain.pixels.shape, plain.size, plain.scan, plain.error) == ((64, 64, 3), (80, 100), None, None)
    assert shown.scan is not None


def test_image_with_too_many_pixels_is_rejected(predictor: Predictor) -> None:
    (read,) = all_of(encoded(np.zeros((100, 100), np.uint8)), predictor)
    (rejected,) = all_of(encoded(np.zeros((100, 101), np.uint8)), predictor)
    assert read.error is None
    assert rejected.error == "too large: 101 x 100 pixels, and at most 10000 are read"


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (9_000, 9_000)])
def test_decompression_bomb_is_rejected_by_its_size(size: tuple[int, int], server: Server) -> None:
    (result,) = server.classify(bomb(*size)).json["results"]
    assert result["label"] is None
    assert result["error"].startswith(("too large", "damaged image"))


def test_each_frame_of_a_dicom_file_has_a_result(server: Server) -> None:
    results = server.classify(*multipart(dicom(3), dicom())).json["results"]
    assert [(found["index"], found["frame"]) for found in results] == [(0, 0), (0, 1), (0, 2), (1, None)]
    assert [found["error"] for found in results] == [None] * 4


def test_dicom_file_with_too_many_frames_is_rejected(predictor: Predictor) -> None:
    (rejected,) = all_of(dicom(4), predictor)
    assert rejected.error == "a DICOM file with 4 frames, expected at most 3"


def test_dicom_file_with_too_many_pixels_is_rejected(predictor: Predictor) -> None:
    (rejected,) = all_of(dicom(side=101), predictor)
    assert rejected.error == "too large: 101 x 101 pixels, and at most 10000 are read"


def test_response_contains_nothing_of_a_patient(server: Server) -> None:
    for content in (dicom(), dicom()[:-20], dicom().replace(b"MONOCHROME2", b"MONOCHROMEX")):
        response = server.classify(content, "application/dicom", "?heatmap=true&scan=true")
        assert response.status == 200
        assert PATIENT not in str(response.headers) + response.body.decode()
    assert PATIENT not in server.get("/metrics").body.decode()


def test_heatmap_of_a_cropped_scan_covers_the_body(predictor: Predictor) -> None:
    scan = np.zeros((80, 80), np.uint8)
    scan[40:, 20:60] = 200
    file = io.BytesIO()
    Image.fromarray(scan).save(file, "PNG")
    before = predictor.spec
    try:
        predictor.spec = replace(before, preprocessing=replace(before.preprocessing, crop="body"))
        (found,) = all_of(file.getvalue(), predictor, Pictures(heatmap=True))
        assert found.pixels is not None
        outputs = predictor.predict_pixels(found.pixels[None])
        outputs = replace(outputs, heatmap=np.ones_like(outputs.heatmap))
        result = result_document(0, None, found, outputs, predictor.spec, Pictures(heatmap=True), 1.0)
    finally:
        predictor.spec = before
    assert (found.seen, found.pixels.min()) == ((0.25, 0.5, 0.75, 1.0), 200)
    with Image.open(io.BytesIO(base64.b64decode(result["heatmap"].partition(",")[2]))) as picture:
        levels = np.asarray(picture)
    assert (levels[40:, 20:60] == 255).all()
    assert levels[:40].max() == levels[:, :20].max() == levels[:, 60:].max() == 0


def test_output_that_is_not_a_number_is_an_error(predictor: Predictor) -> None:
    outputs = predictor.predict_pixels(np.zeros((1, 64, 64, 3), np.uint8))
    wrong = Outputs(outputs.probabilities * np.float32(np.nan), outputs.logits, outputs.heatmap)
    found = result_document(0, None, Decoded(None, size=(5, 5)), wrong, predictor.spec, Pictures(heatmap=True), 1.0)
    assert (found["error"], found["label"], found["heatmap"]) == ("the model's output is not a number", None, None)


def test_image_without_enough_memory_is_an_error(
    predictor: Predictor, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("ctonnx.server.engine.classification.to_pixels", fail)
    (found,) = all_of(png, predictor)
    assert found.error == "too large for the memory of this machine; make it smaller"


def test_limits_are_those_of_the_settings(predictor: Predictor) -> None:
    with running(predictor, Settings(limits=LIMITS)) as server:
        (rejected,) = server.classify(encoded(np.zeros((101, 100), np.uint8))).json["results"]
        assert rejected["error"] == "too large: 100 x 101 pixels, and at most 10000 are read"


def test_every_listed_format_is_read(server: Server) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    formats = server.get("/v1/model").json["formats"]
    for name in set(formats) & {"PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "JPEG2000", "AVIF", "TGA", "PCX"}:
        (found,) = server.classify(encoded(pixels, name), "application/octet-stream").json["results"]
        assert (name, found["error"]) == (name, None)
    assert "DICOM" in formats
    assert Image.open(io.BytesIO(encoded(pixels))).format in formats


def test_request_with_too_many_pixels_together_is_read_in_part(predictor: Predictor) -> None:
    image = encoded(np.zeros((100, 100), np.uint8))
    body, kind = multipart(*[image] * 40)
    with running(predictor, Settings(limits=Limits(pixels=10_000))) as server:
        results = server.classify(body, kind).json["results"]
    read = [result for result in results if result["error"] is None]
    assert 4 <= len(read) < 20  # four images, and those being decoded at that time
    assert {result["error"] for result in results} - {None} == {
        "the images before it have 40000 pixels or more, the limit of one request; send it in another one"
    }


def test_frames_of_a_file_share_the_pixel_budget(predictor: Predictor) -> None:
    frames, budget = open_frames(dicom(3), predictor.spec, LIMITS), PixelBudget(65)  # of 64 pixels each
    found = [decode_next(frames, predictor.spec, PLAIN, budget) for _ in range(3)]
    assert [one and one.error for one in found[:2]] == [None, None]
    assert found[2] is not None
    assert "send it in another" in str(found[2].error)
