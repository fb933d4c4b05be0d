"""A shard that is killed or stopped in its own process, and continued: no row is lost, and none is there twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WORDS = ("scans", "--shard", "1/2", "--time", "2026-12-01T08:00:00Z", "--resume", "--output", "part.jsonl")
ENDING = """
import os, signal, sys
from ctonnx.prediction.output.parts.part_file import PartRows
add, added = PartRows.add, []

def ending(rows, row):
    if len(added) == {rows}:
        rows._file.write(row.encode()[:{half}])
        rows._file.flush()
        os.kill(os.getpid(), {number})
    added.append(row)
    add(rows, row)

PartRows.add = ending
sys.argv = ["ctonnx", "predict", *{words!r}]
from ctonnx.__main__ import run
run()
"""


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Works in a folder with scans/: 40 images."""
    monkeypatch.chdir(tmp_path)
    Path("scans").mkdir()
    for number, pixels in enumerate(np.random.default_rng(2).integers(0, 256, (40, 64, 64)).astype(np.uint8)):
        Image.fromarray(pixels).save(f"scans/{number:02}.png")
    return sorted(os.listdir("scans"))


def ended(model: Path, number: signal.Signals, *, rows: int, half: int = 0) -> "subprocess.CompletedProcess[str]":
    """Runs a shard in a process that gets a signal after some rows, and a part of the next one."""
    code = ENDING.format(rows=rows, half=half, number=int(number), words=[*WORDS, "-m", str(model)])
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def complete(model: Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "ctonnx", "predict", *WORDS, "-m", str(model)]
    return subprocess.run(words, check=False, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_shard_that_is_killed_again_and_again_loses_and_doubles_no_row(model: Path, scans: list[str]) -> None:
    assert complete(model).returncode == 0
    whole = Path("part.jsonl").read_bytes()
    Path("part.jsonl").unlink()
    for rows, half, kept in ((0, 0, 0), (3, 0, 3), (2, 40, 5), (0, 300, 5), (6, 1, 11)):
        done = ended(model, signal.SIGKILL, rows=rows, half=half)
        assert done.returncode == -signal.SIGKILL, done.stderr
        first, *lines = Path("part.jsonl").read_bytes().split(b"\n")
        assert json.loads(first)["rows"] is None
        assert len(lines) - 1 == kept
    done = complete(model)
    assert done.returncode == 0, done.stderr
    assert "continued: 'part.jsonl' has 11 rows to keep; " in done.stderr
    assert Path("part.jsonl").read_bytes() == whole
    assert sorted(os.listdir()) == ["part.jsonl", "scans"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
def test_shard_that_another_process_kills_is_continued(model: Path, scans: list[str]) -> None:
    words = [sys.executable, "-m", "ctonnx", "predict", *WORDS, "-m", str(model), "--batch-size", "1"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (
            Path("part.jsonl").exists() and Path("part.jsonl").read_bytes().count(b"\n") > 2
        ):
            os.sched_yield()
        process.kill()
    assert complete(model).returncode == 0
    rows = [json.loads(line) for line in Path("part.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [row["file"] for row in rows[1:]]
    assert len(names) == len(set(names)) == rows[0]["rows"] == rows[0]["files"]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_shard_that_is_stopped_shows_how_to_go_on(
    model: Path, scans: list[str], number: signal.Signals, exit_code: int
) -> None:
    done = ended(model, number, rows=4)
    assert done.returncode == exit_code, done.stderr
    assert "not complete: the rows so far are in 'part.jsonl'; continue with --resume\n" in done.stderr
    assert done.stderr.endswith("\nctonnx: stopped\n")
    assert "Traceback" not in done.stderr
    assert complete(model).returncode == 0
