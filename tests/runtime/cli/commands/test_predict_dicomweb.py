"""`ctonnx predict --dicomweb`: rows, pictures and objects of a study on a server, and what is left on the disk."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.cli.commands.predicting import assert_rejected, predict

pytest.importorskip("pydicom", reason="pydicom is not installed")
pytest.importorskip("dicomweb_client", reason="dicomweb-client (the extra pacs) is not installed")

from pydicom import dcmread, dcmwrite  # after the extras were looked for
from tests.runtime.server.pacs import orthanc
from tests.runtime.server.pacs.builders import new_uid, write_series
from tests.runtime.server.pacs.dicomweb import FakeServer, serving

from ctonnx.errors import CheckFailed
from ctonnx.prediction.device import fastest_provider
from ctonnx.server.pacs.retrieval import RetrievedStudy

STUDY = new_uid()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in an empty folder, with another one for temporary files."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def fake(tmp_path: Path, temporary: Path) -> Iterator[FakeServer]:
    """A server with a study of three series of 15 images."""
    with serving([file for name in "abc" for file in write_series(tmp_path / name, 15, study=STUDY)]) as server:
        yield server


def objects(folder: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def test_rows_and_objects_are_those_of_the_files(
    fake: FakeServer, model: Path, point_at: Any, temporary: Path, clock: str
) -> None:
    point_at(0.0)
    words = ("-m", model, "--threads", "1", "--format", "jsonl", "--dicom-out")
    there = predict("--dicomweb", fake.url, "--study", STUDY, *words, "there", "--heatmaps", "maps")
    here = predict(*fake.files, *words, "here")
    assert (there.exit_code, here.exit_code) == (0, 0), there.stderr
    assert objects("there") == objects("here")
    kept = ("by", "decision", "score", "label", "used", "carrying", "failed", "left_out")
    rows = [[{key: json.loads(row)[key] for key in kept} for row in one.stdout.splitlines()] for one in (there, here)]
    assert rows[0] == rows[1]
    assert len(list(Path("maps").iterdir())) == 3
    assert "retrieving: 45 CT images of 3 series" in there.stderr
    assert list(temporary.iterdir()) == []


def test_the_disk_has_one_series_and_a_few_batches_of_the_next(
    fake: FakeServer, model: Path, point_at: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(0.5)
    counts: list[int] = []
    fetch = RetrievedStudy.fetch

    def counted(self: RetrievedStudy, file: str) -> str:
        counts.append(sum(1 for _ in temporary.rglob("*.dcm")))
        return fetch(self, file)

    monkeypatch.setattr(RetrievedStudy, "fetch", counted)
    result = predict("--dicomweb", fake.url, "--study", STUDY, "-m", model, "--threads", "1", "--batch-size", "1")
    assert result.exit_code == 0, result.stderr
    assert len(counts) == 45
    assert 15 <= max(counts) < 30


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "expected a trained run below 'runs/'"),
        (("-m", "none.onnx"), "expected an .onnx file, found no file at 'none.onnx'"),
        (("-m", "none"), "expected a run's folder (with model.safetensors and run.json) at 'none'"),
    ],
)
def test_a_missing_model_is_reported_before_the_server_is_asked(
    fake: FakeServer, words: tuple[str, ...], sentence: str
) -> None:
    result = predict("--dicomweb", fake.url, "--study", STUDY, *words)
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.startswith(f"Error: {sentence}")
    assert fake.requests == []


def test_auto_measures_before_the_server_is_asked(
    fake: FakeServer, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise CheckFailed("none passes")

    monkeypatch.setattr(fastest_provider, "fastest_provider", fail)
    result = predict("--dicomweb", fake.url, "--study", STUDY, "-m", model, "--provider", "auto")
    assert (result.exit_code, result.stderr) == (1, "Error: none passes\n")
    assert fake.requests == []


def test_one_series_of_the_study_is_taken(fake: FakeServer, model: Path, point_at: Any) -> None:
    point_at(0.5)
    result = predict("--dicomweb", fake.url, "--study", STUDY, "--by", "study", "-m", model, "--format", "jsonl")
    (row,) = map(json.loads, result.stdout.splitlines())
    assert (row["by"], row["used"]) == ("study", 15)
    assert sum("/instances/" in path for path, _ in fake.requests) == 15


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, "text/plain", b""), "HTTP status 500"),
        ((404, "text/plain", b""), "HTTP status 404"),
        ((200, "multipart/related; boundary=x", b"--x\r\n\r\nno DICOM\r\n--x--\r\n"), "something else"),
    ],
)
def test_an_image_that_is_not_retrieved_is_a_failed_slice_of_its_series(
    fake: FakeServer, model: Path, point_at: Any, temporary: Path, answer: Any, reason: str
) -> None:
    point_at(1.0)
    for file in fake.files:  # as dark as the training images
        image = dcmread(file)
        image.PixelData = (image.pixel_array * 0.45).astype(np.int16).tobytes()
        dcmwrite(file, image)
    fake.answers[".7"] = answer
    first = str(dcmread(fake.files[0]).SeriesInstanceUID)
    fake.answers[f"/{first}.9"] = answer
    words = ("-m", model, "--format", "jsonl", "--dicom-out", "there")
    result = predict("--dicomweb", fake.url, "--study", STUDY, *words)
    assert result.exit_code == 1
    rows = [json.loads(row) for row in result.stdout.splitlines()]
    assert [(row["used"], row["failed"]) for row in rows] == [(13, 2), (14, 1), (14, 1)]
    assert {row["decision"] for row in rows} == {"refer"}
    assert rows[0]["reason"] == "2 of 15 slices cannot be read, and a finding may be there"
    assert rows[0]["failures"] == [
        {"file": f"{first}/{number}.dcm", "error": f"not retrieved: {reason}"} for number in (7, 9)
    ]
    assert "failed: 4 files; the rows name them" in result.stderr
    made = [dcmread(file) for file in Path("there").iterdir()]
    assert sorted(one.Modality for one in made) == ["OT"] * 3 + ["SR"] * 3
    evidence = [one.CurrentRequestedProcedureEvidenceSequence[0] for one in made if one.Modality == "SR"]
    assert sorted(len(one.ReferencedSeriesSequence[0].ReferencedSOPSequence) for one in evidence) == [13, 14, 14]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("row_format", ["jsonl", "csv", "table"])
def test_rows_have_the_series_and_the_number_of_an_image_and_no_folder(
    fake: FakeServer, model: Path, point_at: Any, temporary: Path, row_format: str
) -> None:
    point_at(0.5)
    fake.answers[".7"] = (500, "text/plain", b"")
    words = ("-m", model, "--format", row_format)
    result = predict("--dicomweb", fake.url, "--study", STUDY, *words)
    text = result.stdout + result.stderr
    assert str(temporary) not in text
    assert "ctonnx-study" not in text
    for uid in {str(dcmread(file).SeriesInstanceUID) for file in fake.files}:
        if row_format == "table":
            assert uid[-14:] in text
        else:
            assert f"{uid}/" in text
    assert "7.dcm" in text


@pytest.mark.parametrize(
    ("count", "tries", "is_gone"),
    [(15, 1, True), (2, 1, True), (15, 3 * 3, False)],  # three images, each three times
)
def test_a_server_that_stops_ends_the_command_without_a_row(
    fake: FakeServer, model: Path, point_at: Any, temporary: Path, count: int, tries: int, is_gone: bool
) -> None:
    point_at(0.5)
    fake.files = fake.files[:count]
    tried = list[str]()

    def stop(path: str) -> None:
        if "/instances/" in path:
            tried.append(path)
            if is_gone:
                fake.close()
            raise ConnectionAbortedError

    fake.before = stop
    result = predict("--dicomweb", fake.url, "--study", STUDY, "-m", model, "--output", "rows.csv")
    assert_rejected(
        result,
        f"expected an image from '{fake.url}', found no connection; check --dicomweb and whether the server runs",
    )
    assert len(tried) == tries
    assert not Path("rows.csv").exists()
    assert list(temporary.iterdir()) == []


def test_a_token_that_expires_ends_the_command(fake: FakeServer, model: Path, point_at: Any) -> None:
    point_at(0.5)
    fake.answers[".7"] = (401, "text/plain", b"")
    result = predict("--dicomweb", fake.url, "--study", STUDY, "-m", model, "--output", "rows.csv")
    assert_rejected(result, f"expected an image from '{fake.url}', found HTTP status 401; check --token")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_on_the_disk(fake: FakeServer, model: Path, temporary: Path, number: int) -> None:
    fake.before = lambda path: time.sleep(0.2 if "/instances/" in path else 0)  # long enough to be in the middle
    words = ["predict", "--dicomweb", fake.url, "--study", STUDY, "-m", model, "--by", "series"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", _WITH_A_POINT, *map(str, words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(temporary.rglob("*.dcm")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else 130), errors
    assert list(temporary.iterdir()) == []


_WITH_A_POINT = """
import sys
from dataclasses import replace
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.prediction.predictor import Predictor
original = Predictor.__init__
def opened(self, *arguments, **options):
    original(self, *arguments, **options)
    point = OperatingPoint(positive=("normal",), threshold=0.5, sensitivity=1.0, specificity=1.0)
    self.spec = replace(self.spec, operating_point=point, prediction_sets=None, novelty=None)
Predictor.__init__ = opened
from ctonnx.cli.main import main
main()
"""


@pytest.mark.skipif(orthanc.missing_parts() is not None, reason=str(orthanc.missing_parts()))
def test_a_study_in_orthanc(tmp_path: Path, model: Path, point_at: Any, temporary: Path) -> None:
    point_at(0.0)
    files = write_series(tmp_path / "series", 5, study=STUDY)
    with orthanc.running(tmp_path / "pacs") as pacs:
        for file in files:
            pacs.post("/instances", file.read_bytes())
        result = predict("--dicomweb", pacs.dicomweb, "--study", STUDY, "-m", model, "--dicom-out", "there")
    assert result.exit_code == 0, result.stderr
    assert predict("series", "-m", model, "--dicom-out", "here").exit_code == 0
    assert objects("there") == objects("here")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--study", "1.2"], "expected --study with --dicomweb, found none"),
        (["--series", "1.2", "scans"], "expected --series with --dicomweb, found none"),
        (["--dicomweb", "http://pacs"], "expected --study with --dicomweb, found none; it is the Study Instance UID"),
        (["--dicomweb", "http://pacs", "--study", "1.2", "scans"], "expected either --dicomweb or PATH, found both"),
        (["--dicomweb", "http://pacs", "--study", "1.2", "-0"], "expected either --dicomweb or PATH, found both"),
        (
            ["--dicomweb", "http://pacs", "--study", "1.2", "--by", "folder"],
            "expected --dicomweb with --by series or study, found --by folder",
        ),
        (
            ["--dicomweb", "http://pacs", "--study", "Doe"],
            "expected a study as a UID: at most 64 digits and dots, for --dicomweb",
        ),
        ([], "Missing argument 'PATH...'."),
    ],
)
def test_options_that_do_not_go_together(words: list[str], sentence: str, temporary: Path) -> None:
    assert_rejected(predict(*words), sentence)


def test_a_token_is_read_from_its_file(fake: FakeServer, model: Path, point_at: Any) -> None:
    point_at(0.5)
    Path("token").write_text("secret\n")
    result = predict("--dicomweb", fake.url, "--study", STUDY, "-m", model, "--token", "token")
    assert result.exit_code == 0, result.stderr
    assert {headers.get("Authorization") for _, headers in fake.requests} == {"Bearer secret"}
    Path("token").write_bytes(b"\xff")
    assert_rejected(
        predict("--dicomweb", fake.url, "--study", STUDY, "--token", "token"),
        "expected a text in 'token', for --dicomweb",
    )
