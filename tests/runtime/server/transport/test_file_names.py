"""File names in the encodings of all clients."""

import base64

import pytest
from tests.runtime.server.conftest import Server

from ctonnx.server.transport.file_names import file_name


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ('filename="a.png"', "a.png"),
        ("filename=a.png", "a.png"),
        ('FileName="a.png"', "a.png"),
        ('filename = "a.png"', "a.png"),
        ('filename="nódulo.png"'.encode(), "nódulo.png"),
        ('filename="肺.dcm"'.encode(), "肺.dcm"),
        ('filename="nódulo.png"'.encode("latin-1"), "nódulo.png"),
        ("filename*=UTF-8''n%C3%B3dulo.png", "nódulo.png"),
        ("filename*=utf-8'es'n%c3%b3dulo.png", "nódulo.png"),
        ("filename*=ISO-8859-1''n%F3dulo.png", "nódulo.png"),
        ("filename=\"n?dulo.png\"; filename*=UTF-8''n%C3%B3dulo.png", "nódulo.png"),
        ("filename*=UTF-8''n%C3%B3dulo.png; filename=\"n?dulo.png\"", "nódulo.png"),
        ("filename*0*=UTF-8''n%C3%B3; filename*1=dulo.png", "nódulo.png"),
        (f'filename="=?UTF-8?B?{base64.b64encode("nódulo.png".encode()).decode()}?="', "nódulo.png"),
        ('filename="=?utf-8?q?n=C3=B3dulo=2Epng?="', "nódulo.png"),
        ('filename="=?nowhere?B?YQ==?="', "=?nowhere?B?YQ==?="),
        ('filename="a\\"b.png"', 'a"b.png'),
        ('filename="a%22b.png"', 'a"b.png'),
        ('filename="a\\\\b.png"', "a\\b.png"),
        ('filename="a;b=c.png"', "a;b=c.png"),
        ('filename="it\'s 100%.png"', "it's 100%.png"),
        ('filename="C:\\scans\\a.png"', "C:\\scans\\a.png"),
        ('filename="../../etc/passwd"', "../../etc/passwd"),
        ("filename*=UTF-8''..%2Fa.png", "../a.png"),
        ('filename="a\x00\x1b[31m.png"', "a\\x00\\x1b[31m.png"),
        ('filename="a%0D%0Ab.png"', "a\\r\\nb.png"),
        ("filename*=UTF-8''a%0Ab%E2%80%AE.png", "a\\nb\\u202e.png"),
        ("filename*=nowhere''a.png", "a.png"),
        ('filename=""', ""),
        ("filename", ""),
        ('filename="' + "a" * 300 + '"', "a" * 252 + "..."),
        ("", None),
        ('name2="filename"', None),
        ('x="y; filename=z"', None),
    ],
)
def test_name_is_read(parameters: str | bytes, expected: str | None) -> None:
    raw = parameters if isinstance(parameters, bytes) else parameters.encode("latin-1")
    assert file_name(b'form-data; name="file"' + (b"; " + raw if raw else b"")) == expected


def test_any_byte_in_a_name_is_accepted() -> None:
    for byte in range(256):
        name = file_name(b'form-data; name="file"; filename="a' + bytes([byte]) + b'b.png"')
        assert name is not None
        assert name.isprintable()


def test_names_are_returned_with_the_results(server: Server, png: bytes) -> None:
    parts = ['filename="a.png"', "filename*=UTF-8''n%C3%B3dulo.png", 'filename="a%0Db.png"']
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="file"; ' + part.encode() + b"\r\n\r\n" + png + b"\r\n"
        for part in parts
    )
    response = server.ask(
        "POST", "/v1/classify", body + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert [result["file"] for result in response.json["results"]] == ["a.png", "nódulo.png", "a\\rb.png"]
    raw = server.classify(png)
    assert raw.json["results"][0]["file"] is None
