"""`ctonnx predict` in its own process: names that are hard to print, and a full or closed stdout."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NAMES = [b"a b.png", b"a[1].png", b"a*?.png", b"a\nb.png", b"a\rb.png", b"gr\xc3\xb6\xc3\x9fe.png", b"sc\xff\xfean.png"]


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in a folder with scans/: a good image and an empty one."""
    folder = tmp_path / "scans"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100)).astype(np.uint8)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def odd_names(scans: Path) -> list[bytes]:
    """The same image and the same empty file under names that are hard to print."""
    image = (scans / "a.png").read_bytes()
    folder = os.fsencode(scans.parent / "odd")
    for kind, content in ((b"good", image), (b"empty", b"")):
        os.makedirs(os.path.join(folder, kind))  # noqa: PTH103 - a Path cannot be bytes
        for name in NAMES:
            with open(os.path.join(folder, kind, name), "wb") as file:  # noqa: PTH123 - a Path cannot be bytes
                file.write(content)
    return [os.path.join(b"odd", kind, name) for kind in (b"empty", b"good") for name in sorted(NAMES)]


def in_a_process(*words: str | bytes | Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "ctonnx", "predict", *words],
        check=False,
        capture_output=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("output_format", ["table", "csv", "jsonl"])
def test_no_name_of_a_file_ends_the_run(model: Path, odd_names: list[bytes], output_format: str, encoding: str) -> None:
    done = in_a_process("odd", "-m", model, "--format", output_format, PYTHONIOENCODING=encoding)
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False), done.stderr
    assert re.search(
        r"^14 files: 7 predicted \([07] positive, [07] negative, [07] refer\), 7 failed; ",
        done.stderr.decode(),
        re.MULTILINE,
    )
    text = done.stdout.decode(encoding)
    if output_format == "table":
        assert len(text.splitlines()) == 1 + 14
        assert sum("error: the file is empty (0 bytes)" in line for line in text.splitlines()) == 7
    elif output_format == "csv":
        assert [len(row) for row in csv.reader(io.StringIO(text, newline=""))] == [17] * 15
    else:
        found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        assert [os.fsencode(document["file"]) for document in found] == odd_names
        assert [document["error"] is None for document in found] == [False] * 7 + [True] * 7


def test_terminal_of_plain_ascii_does_not_end_the_run(model: Path, odd_names: list[bytes]) -> None:
    done = in_a_process("odd", "-m", model, "--format", "jsonl", PYTHONIOENCODING="ascii")
    assert done.returncode == 1, done.stderr
    errors = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert [error is None for error in errors] == [False] * 7 + [True] * 7


def test_odd_names_on_the_command_line_are_files(model: Path, odd_names: list[bytes]) -> None:
    done = in_a_process(*odd_names, "-m", model, "--format", "jsonl")
    assert done.returncode == 1, done.stderr
    assert [os.fsencode(json.loads(line)["file"]) for line in done.stdout.splitlines()] == odd_names


def test_odd_name_of_a_missing_model_is_reported(scans: Path) -> None:
    done = in_a_process("scans", "-m", b"m\xffodel.onnx")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b"Error: expected an .onnx file, found no file at 'm\\udcffodel.onnx'; list them with: ls runs/*/export\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="names there hold no such characters")
def test_control_characters_in_a_name_are_data_in_csv_and_escaped_in_the_table(model: Path, scans: Path) -> None:
    odd = "\x1b[31mred.png"
    (scans / odd).write_bytes((scans / "a.png").read_bytes())
    named = {}
    for output_format in ("csv", "table"):
        done = in_a_process(f"scans/{odd}", "-m", model, "--format", output_format)
        named[output_format] = done.stdout.decode().splitlines()[1]
    assert named["csv"].startswith(f"scans/{odd},")
    assert named["table"].startswith("scans/\\x1b[31mred.png  ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_full_disk_under_stdout_is_reported(model: Path, scans: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "ctonnx", "predict", "scans/a.png", "-m", str(model)],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.stderr.splitlines()[-1] == b"Error: No space left on device: 'standard output'"
    assert done.returncode == 2


def test_closed_pipe_ends_the_run_without_a_message(model: Path, scans: Path) -> None:
    many = [str(scans / "b.png")] * 20_000  # more than a pipe holds
    (scans.parent / "run.py").write_text(
        "import sys; from ctonnx.__main__ import run; "
        f"sys.argv = ['ctonnx', 'predict', '-m', {str(model)!r}, *{many!r}]; run()",
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, "run.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"file")
        process.stdout.close()
        printed = process.stderr.read()
    assert b"Traceback" not in printed
    assert b"Exception ignored" not in printed
    assert process.returncode == 1
