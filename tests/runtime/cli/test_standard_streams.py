"""Commands run without standard streams, and their output does not get into other files."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ALL = "<&- >&- 2>&-"
EACH = ["<&-", ">&-", "2>&-", ">&- 2>&-", ALL]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the shell closes the streams")


def without_streams(closed: str, *words: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = shlex.join([sys.executable, "-m", "ctonnx", *map(str, words)])
    shell = ["/bin/sh", "-c", f"exec {command} {closed}"]
    return subprocess.run(shell, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd)


def script(code: str, closed: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = shlex.join([sys.executable, "-c", f"import json, os, subprocess, sys\n{code}"])
    shell = ["/bin/sh", "-c", f"exec {command} {closed}"]
    return subprocess.run(shell, check=True, capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def scan(phantoms: Path) -> Path:
    return sorted((phantoms / "test").rglob("*.png"))[0]


@pytest.mark.parametrize("closed", EACH)
def test_next_file_does_not_get_the_descriptor_of_a_stream(closed: str, tmp_path: Path) -> None:
    script(
        """
from ctonnx.cli.standard_streams import open_missing_streams
open_missing_streams()
with open("data", "w") as data:
    assert data.fileno() > 2, data.fileno()
    assert sys.stdin.read() == ""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        print("progress", file=stream, flush=True)
    os.write(1, b"progress")
    os.write(2, b"progress")
    child = "import sys; print('progress'); print('progress', file=sys.stderr); sys.exit(len(sys.stdin.read()))"
    assert subprocess.run([sys.executable, "-c", child]).returncode == 0
    data.write("data")
""",
        f"{closed} {'' if '<' in closed else '</dev/null'}",
        tmp_path,
    )
    assert (tmp_path / "data").read_text() == "data"


def test_open_streams_stay_as_they_are(tmp_path: Path) -> None:
    done = script(
        """
from ctonnx.cli.standard_streams import open_missing_streams
before = sys.stdin, sys.stdout, sys.stderr
open_missing_streams()
print(before == (sys.stdin, sys.stdout, sys.stderr))
""",
        "",
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("closed", EACH)
def test_rows_are_written_where_there_is_a_place_for_them(closed: str, model: Path, scan: Path, tmp_path: Path) -> None:
    done = without_streams(closed, "predict", "-m", model, scan, "-o", "rows.csv", "--heatmaps", "maps", cwd=tmp_path)
    assert (done.returncode, done.stderr == "" or "2>" not in closed) == (0, True), done.stderr
    with (tmp_path / "rows.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["error"]) == (str(scan), "")
    assert len(list((tmp_path / "maps").iterdir())) == 1


@pytest.mark.parametrize("output_format", ["table", "csv", "jsonl"])
def test_rows_for_stdout_are_whole_without_stderr_and_lost_without_stdout(
    output_format: str, model: Path, scan: Path, tmp_path: Path
) -> None:
    words = ("predict", "-m", model, scan, "--format", output_format)
    whole, blind = (without_streams(closed, *words, cwd=tmp_path).stdout for closed in ("", "<&- 2>&-"))
    time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")  # at which each of the two began
    assert time.sub("", blind) == time.sub("", whole) != ""
    lost = without_streams(">&-", *words, cwd=tmp_path)
    assert (lost.returncode, lost.stdout, "Traceback" in lost.stderr) == (0, "", False)
    assert "1 file: 1 predicted" in lost.stderr


@pytest.mark.parametrize("option", [[], ["-0"]])
def test_names_from_a_closed_stdin_are_an_error(option: list[str], model: Path, tmp_path: Path) -> None:
    done = without_streams("<&-", "predict", "-m", model, *option, "-", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "Error: expected file names on stdin, found none"


@pytest.mark.parametrize(
    ("closed", "words"),
    [
        *((closed, ("inspect",)) for closed in EACH),
        *((closed, ("verify",)) for closed in EACH),
        (ALL, ("verify", "--json")),
    ],
)
def test_commands_of_a_model_run_without_streams(
    closed: str, words: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    done = without_streams(closed, words[0], model, *words[1:], cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("data", "phantom", "made", "--per-class", "8")])
def test_commands_without_a_model_run_without_streams(words: tuple[str, ...], tmp_path: Path) -> None:
    assert without_streams(ALL, *words, cwd=tmp_path).returncode == 0


def test_doctor_ends_as_it_does_with_streams(tmp_path: Path) -> None:
    expected = without_streams("", "doctor", cwd=tmp_path).returncode
    found = {closed: without_streams(closed, "doctor", cwd=tmp_path).returncode for closed in (">&-", "2>&-", ALL)}
    assert found == dict.fromkeys(found, expected)


def test_wrong_use_ends_as_it_does_with_streams(tmp_path: Path) -> None:
    assert without_streams(ALL, "predict", "--nothing", cwd=tmp_path).returncode == 2
    assert without_streams(ALL, "predict", "-m", "nowhere.onnx", "scan.png", cwd=tmp_path).returncode == 2


def test_model_is_evaluated_without_streams(model: Path, phantoms: Path, tmp_path: Path) -> None:
    done = without_streams(ALL, "evaluate", model, phantoms, "--replicates", "20", cwd=tmp_path)
    assert done.returncode == 0


def test_training_and_benchmark_run_without_streams(phantoms: Path, model: Path, tmp_path: Path) -> None:
    """The export without streams is in `tests/export/test_export.py`: it takes long, and is compared there."""
    settings = ("--weights", "none", "--image-size", "32", "--epochs", "1", "--name", "tiny")
    assert without_streams(ALL, "train", phantoms, *settings, cwd=tmp_path).returncode == 0
    record = json.loads((tmp_path / "runs/tiny/run.json").read_text())
    assert record["classes"]
    measured = ("--duration", "0.1", "--rounds", "1", "--threads", "1", "--output", "bench")
    assert without_streams(ALL, "bench", model, *measured, cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "bench/bench.json").read_text())


def test_server_answers_without_stdin_and_stdout(model: Path, tmp_path: Path) -> None:
    command = shlex.join([sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", "0"])
    shell = ["/bin/sh", "-c", f"exec {command} <&- >&-"]
    server = subprocess.Popen(shell, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert server.stderr is not None
    printed = []
    for line in server.stderr:
        printed.append(line)
        if "http://" in line:
            break
    server.terminate()
    rest = server.stderr.read()
    server.stderr.close()
    assert (server.wait(), "Traceback" in "".join([*printed, rest])) == (0, False), printed
