"""Bodies within limits: of bytes, of time, of files; multipart that is whole, malformed or hostile."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.server.conftest import Server, multipart, running

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.settings import Limits, Settings
from ctonnx.server.transport.budgets import MemoryBudget
from ctonnx.server.transport.errors import RequestError
from ctonnx.server.transport.multipart import file_reader

SMALL = Settings(limits=Limits(body_bytes=20_000, body_seconds=0.3, files=3))
MALFORMED = "expected a whole multipart body, found one that is malformed or cut off"

TOO_LARGE = (
    "expected a body of at most 20000 bytes, found a larger one; send fewer files at a time, or raise the server's "
    "--max-body-mb"
)


@pytest.fixture(scope="module")
def small(predictor: Predictor) -> Iterator[Server]:
    with running(predictor, SMALL) as server:
        yield server


def contents(body: bytes, kind: str, *, most: int = 10, step: int = 7) -> list[bytes]:
    """Takes a body apart that comes in small pieces."""
    reader = file_reader(kind, most)
    for start in range(0, len(body), step):
        reader.add(body[start : start + step])
    reader.finish()
    return reader.contents


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_files_of_a_multipart_body_are_what_was_sent(step: int) -> None:
    files = [b"one", b"", b"--xxBOUNDARYxx", b"\r\n\r\n", os.urandom(300)]
    body, kind = multipart(*files)
    assert contents(body, kind, step=step) == files


def test_names_that_clients_give_are_kept_with_their_files() -> None:
    names = ['filename="a.png"', "filename*=UTF-8''%2e%2e%2fn%C3%B3dulo", 'filename=""']
    body = b"".join(multipart(b"scan", name=name)[0].removesuffix(b"--xxBOUNDARYxx--\r\n") for name in names)
    reader = file_reader("multipart/form-data; boundary=xxBOUNDARYxx", 3)
    reader.add(body + b"--xxBOUNDARYxx--\r\n")
    reader.finish()
    assert (reader.contents, reader.names) == ([b"scan"] * 3, ["a.png", "../nódulo", None])


PART = b"--x\r\nContent-Disposition: form-data; name=file\r\n"


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
    with pytest.raises(RequestError, match=r"^expected parts that are files, found a form field"):
        contents(PART + kind + b"\r\ntrue\r\n--x--\r\n", "multipart/form-data; boundary=x")


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/jpeg", "application/dicom", "application/octet-stream; x=y"])
def test_raw_body_is_one_file(kind: str) -> None:
    assert contents(b"scan of bytes", kind) == [b"scan of bytes"]


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/json", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x"]
)
def test_other_content_types_are_refused(kind: str) -> None:
    with pytest.raises(RequestError, match="expected a Content-Type of multipart/form-data") as refused:
        file_reader(kind, 3)
    assert refused.value.status == 415
    curls = kind == "application/x-www-form-urlencoded"
    assert str(refused.value).endswith('with curl, add -H "Content-Type: image/png"') == curls


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 300}"]
)
def test_boundary_that_is_missing_or_endless_is_refused(kind: str) -> None:
    with pytest.raises(RequestError, match=r"boundary in the Content-Type|malformed") as refused:
        file_reader(kind, 3)
    assert refused.value.status == 400


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
def test_malformed_multipart_is_refused(case: str, server: Server) -> None:
    _, kind = multipart()
    answer = server.classify(broken()[case], kind)
    assert (answer.status, answer.error) == (400, MALFORMED)


def test_multipart_with_any_byte_changed_is_read_or_refused() -> None:
    body, kind = multipart(b"scan", b"another scan")
    outcomes = set[str]()
    for place in range(len(body)):
        for byte in (b"", b"\0", b"\r\n", b"-", b'"', b"\xff"):
            try:
                found = contents(body[:place] + byte + body[place + 1 :], kind, step=64)
                outcomes.add("read" if found else "empty")
            except RequestError as refused:
                outcomes.add(str(refused.status))
    assert outcomes == {"read", "400"}


def test_multipart_without_files_and_empty_bodies_are_refused(server: Server) -> None:
    _, kind = multipart(b"")
    field = b'--xxBOUNDARYxx\r\nContent-Disposition: form-data; name="heatmap"\r\n\r\ntrue\r\n--xxBOUNDARYxx--\r\n'
    assert server.classify(field, kind).error.startswith("expected parts that are files, found a form field")
    end = b"--xxBOUNDARYxx--\r\n"
    assert server.classify(end, kind).error in (MALFORMED, "expected files in the multipart body, found none")
    assert server.classify(b"").error == "expected an image, found an empty file (0 bytes)"


def test_too_many_files_are_refused(small: Server) -> None:
    assert small.classify(*multipart(b"x", b"y", b"z")).status == 200
    answer = small.classify(*multipart(b"x", b"y", b"z", b"a"))
    assert (answer.status, answer.error) == (413, "expected at most 3 files, found more; send them in several requests")


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=xxBOUNDARYxx"])
def test_body_that_says_it_is_too_large_is_refused(kind: str, small: Server) -> None:
    answer = small.classify(multipart(b"x" * 300_000)[0], kind)
    assert (answer.status, answer.error) == (
        413,
        TOO_LARGE,
    )


def test_large_body_that_is_refused_unread_gets_its_answer(server: Server) -> None:
    assert server.classify(b"x" * 5_000_000, "text/plain").status == 415
    assert server.classify(b"x" * 5_000_000, query="?x=y").status == 400


def test_body_that_does_not_say_how_large_it_is_is_counted(small: Server) -> None:
    pieces = iter([b"x" * 9_000] * 40)
    answer = small.ask("POST", "/v1/classify", pieces, {"Content-Type": "image/png"})
    assert (answer.status, answer.error) == (
        413,
        TOO_LARGE,
    )
    assert small.ask("POST", "/v1/classify", iter([b"x" * 9_000] * 2), {"Content-Type": "image/png"}).status == 200


def test_client_that_waits_for_leave_is_refused_before_it_sends(small: Server) -> None:
    with small.raw() as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 90000\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_body_that_does_not_come_is_given_up(small: Server) -> None:
    with small.raw() as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\nslow"
        )
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"expected the whole body within 0.3 s, found it unfinished" in answer
    assert small.get("/v2/health/ready").status == 200


def test_client_that_goes_away_in_its_body_leaves_nothing_behind(small: Server) -> None:
    with small.raw() as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\nhalf"
        )
    deadline = time.monotonic() + 10
    while small.metric('ctonnx_requests_total{route="classify",status="499"}') < 1:
        assert time.monotonic() < deadline
    assert small.metric("ctonnx_images_under_way") == 0


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_encoded_body_is_refused(encoding: str, server: Server) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": encoding}
    assert server.ask("POST", "/v1/classify", b"x", headers).status == 415


def test_bodies_share_their_room() -> None:
    room = MemoryBudget(10)
    with room.held() as take:
        take(6)
        with room.held() as other:
            other(4)
            with pytest.raises(RequestError, match="too much memory is taken by other requests") as refused:
                other(1)
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        assert room.taken == 6
        take(4)
    assert room.taken == 0


def test_uploads_are_written_to_no_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("a temporary file was asked for")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    assert server.classify(*multipart(b"x" * 3_000_000, b"y")).status == 200
