"""`ctonnx predict -`: file names on stdin."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from tests.runtime.cli.commands.predicting import FILES, GOOD, assert_rejected, predict

pytestmark = pytest.mark.usefixtures("clock")

ALONE = "expected - as the only PATH, for names on stdin, found other paths"


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("-",), "\n".join(FILES).encode()),
        (("-",), ("\r\n".join(FILES) + "\r\n\n").encode()),
        (("-",), b"\xef\xbb\xbf" + "\r\n".join(FILES).encode()),  # as Notepad saves it
        (("-", "-0"), "\0".join(FILES).encode()),
        (("-", "--null"), ("\0".join(FILES) + "\0").encode()),
    ],
)
def test_names_on_stdin_are_predicted(words: tuple[str, ...], stdin: bytes, model: Path, scans: Path) -> None:
    result = predict(*words, "-m", model, "--format", "csv", stdin=stdin)
    assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == FILES
    assert result.stdout == predict("scans", "-m", model, "--format", "csv").stdout


def test_names_on_stdin_are_not_patterns_and_may_be_any_bytes(model: Path, scans: Path) -> None:
    odd = [b"scans/*.png", b"line\nbreak.png", b"latin-1 \xe9.png"]
    for name in odd:
        Path(os.fsdecode(name)).write_bytes(Path(GOOD[0]).read_bytes())
    result = predict("-", "-0", "-m", model, "--format", "jsonl", stdin=b"\0".join([*odd, b"scans/[a].png"]))
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["error"] for document in documents] == [None, None, None, "cannot be read: no such file"]
    assert len({document["probability"] for document in documents[:3]}) == 1


def test_names_in_invalid_utf_8_are_decoded_with_the_systems_code_page(
    model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = os.fsdecode
    monkeypatch.setattr("locale.getencoding", lambda: "cp1252")
    monkeypatch.setattr("os.fsdecode", lambda name: name.decode() if isinstance(name, bytes) else strict(name))
    Path("größe.png").write_bytes(Path(GOOD[0]).read_bytes())
    result = predict("-", "-m", model, "--format", "jsonl", stdin="größe.png\n".encode("cp1252") + b"none\x81.png")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["file"], first["error"]) == ("größe.png", None)
    assert (second["file"], second["error"]) == ("none\udc81.png", "cannot be read: no such file")


@pytest.mark.parametrize(
    ("words", "stdin", "sentence"),
    [
        (("-",), b"\n\n", "expected file names on stdin, found none"),
        (
            ("-",),
            b"a.png\0b.png\0",
            "expected a file name on each line of stdin, found NUL characters; to read names that end with them, add "
            "-0: ctonnx predict -0 -",
        ),
        (("-", "scans"), b"a.png", ALONE),
        (("scans", "-0"), b"a.png", ALONE),
    ],
)
def test_empty_stdin_and_other_paths_next_to_stdin_are_rejected(
    words: tuple[str, ...], stdin: bytes, sentence: str, model: Path, scans: Path
) -> None:
    assert_rejected(predict(*words, "-m", model, stdin=stdin), sentence)
