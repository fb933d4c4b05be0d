"""Files of a body: raw, multipart that is complete, malformed or hostile, other types."""

import os

import pytest
from tests.runtime.server.conftest import Server, multipart, running

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.settings import Limits, Settings
from ctonnx.server.transport.errors import RequestError
from ctonnx.server.transport.multipart import file_reader

PART = b"--x\r\nContent-Disposition: form-data; name=file\r\n"
MALFORMED = "expected a complete multipart body, found a malformed or truncated one"


def contents(body: bytes, kind: str, *, most: int = 10, step: int = 7) -> list[bytes]:
    """Returns the files of a body that arrives in small pieces."""
    reader = file_reader(kind, most)
    for start in range(0, len(body), step):
        reader.add(body[start : start + step])
    reader.finish()
    return reader.contents


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_files_of_a_multipart_body_equal_those_sent(step: int) -> None:
    files = [b"one", b"", b"--xxBOUNDARYxx", b"\r\n\r\n", os.urandom(300)]
    body, kind = multipart(*files)
    assert contents(body, kind, step=step) == files


def test_names_are_kept_with_their_files() -> None:
    names = ['filename="a.png"', "filename*=UTF-8''%2e%2e%2fn%C3%B3dulo", 'filename=""']
    body = b"".join(multipart(b"scan", name=name)[0].removesuffix(b"--xxBOUNDARYxx--\r\n") for name in names)
    reader = file_reader("multipart/form-data; boundary=xxBOUNDARYxx", 3)
    reader.add(body + b"--xxBOUNDARYxx--\r\n")
    reader.finish()
    assert (reader.contents, reader.names) == ([b"scan"] * 3, ["a.png", "../nódulo", None])


@pytest.mark.parametrize(
    "kind", [b"image/png", b"IMAGE/x-thing; a=b", b"application/dicom", b"application/octet-stream"]
)
@pytest.mark.parametrize("before", [False, True])
def test_part_without_a_name_is_a_file_by_its_type(kind: bytes, *, before: bool) -> None:
    disposition, of_type = PART.splitlines(keepends=True)[1], b"Content-Type: " + kind + b"\r\n"
    head = b"--x\r\n" + (of_type + disposition if before else disposition + of_type)
    reader = file_reader("multipart/form-data; boundary=x", 3)
    reader.add(head + b"\r\nscan\r\n--x--\r\n")
    reader.finish()
    assert (reader.contents, reader.names) == ([b"scan"], [None])


@pytest.mark.parametrize("kind", [b"", b"Content-Type: text/plain\r\n", b"Content-Type: application/json\r\n"])
def test_part_without_a_name_is_a_form_field_by_any_other_type(kind: bytes) -> None:
    with pytest.raises(RequestError, match=r"^expected only files as parts, found a form field"):
        contents(PART + kind + b"\r\ntrue\r\n--x--\r\n", "multipart/form-data; boundary=x")


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/jpeg", "application/dicom", "application/octet-stream; x=y"])
def test_raw_body_is_one_file(kind: str) -> None:
    assert contents(b"scan of bytes", kind) == [b"scan of bytes"]


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x"]
)
def test_other_content_types_are_rejected(kind: str) -> None:
    with pytest.raises(RequestError, match="expected a Content-Type of multipart/form-data") as error:
        file_reader(kind, 3)
    assert error.value.status == 415
    curls = kind == "application/x-www-form-urlencoded"
    assert str(error.value).endswith('with curl, add -H "Content-Type: image/png"') == curls


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 300}"]
)
def test_missing_or_too_long_boundary_is_rejected(kind: str) -> None:
    with pytest.raises(RequestError, match=r"boundary in the Content-Type|malformed") as error:
        file_reader(kind, 3)
    assert error.value.status == 400


def broken() -> dict[str, bytes]:
    body, _ = multipart(b"scan", b"scan")
    return {
        "cut in the head": body[:30],
        "cut in a file": body[: body.index(b"scan") + 2],
        "cut between files": body[: body.rindex(b"--xxB") - 100],
        "no end": body.removesuffix(b"--xxBOUNDARYxx--\r\n"),
        "another boundary": body.replace(b"BOUNDARY", b"BORDER"),
        "nothing at all": b"",
        "no multipart": b"\x89PNG\r\n\x1a\n" + b"x" * 100,
        "a head without end": b"--xxBOUNDARYxx\r\nContent-Disposition: " + b"x" * 100_000,
        "heads without end": b"--xxBOUNDARYxx\r\n" + b"a: b\r\n" * 10_000,
        "a head that is none": b"--xxBOUNDARYxx\r\n\x00\xff: x\r\n\r\n",
    }


@pytest.mark.parametrize("case", broken())
def test_malformed_multipart_is_rejected(case: str, server: Server) -> None:
    _, kind = multipart()
    response = server.classify(broken()[case], kind)
    assert (response.status, response.error) == (400, MALFORMED)


def test_multipart_with_any_byte_changed_is_read_or_rejected() -> None:
    body, kind = multipart(b"scan", b"another scan")
    outcomes = set[str]()
    for place in range(len(body)):
        for byte in (b"", b"\0", b"\r\n", b"-", b'"', b"\xff"):
            try:
                found = contents(body[:place] + byte + body[place + 1 :], kind, step=64)
                outcomes.add("read" if found else "empty")
            except RequestError as error:
                outcomes.add(str(error.status))
    assert outcomes == {"read", "400"}


def test_multipart_without_files_and_empty_bodies_are_rejected(server: Server) -> None:
    _, kind = multipart(b"")
    field = b'--xxBOUNDARYxx\r\nContent-Disposition: form-data; name="heatmap"\r\n\r\ntrue\r\n--xxBOUNDARYxx--\r\n'
    assert server.classify(field, kind).error.startswith("expected only files as parts, found a form field")
    end = b"--xxBOUNDARYxx--\r\n"
    assert server.classify(end, kind).error in (MALFORMED, "expected files in the multipart body, found none")
    assert server.classify(b"").error == "expected an image, found an empty file (0 bytes)"


def test_too_many_files_are_rejected(predictor: Predictor) -> None:
    with running(predictor, Settings(limits=Limits(files=3))) as server:
        assert server.classify(*multipart(b"x", b"y", b"z")).status == 200
        response = server.classify(*multipart(b"x", b"y", b"z", b"a"))
    assert (response.status, response.error) == (
        413,
        "expected at most 3 files, found more; send them in several requests",
    )
