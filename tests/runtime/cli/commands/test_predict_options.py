"""`ctonnx predict`: counts, suspicious images, batches and progress."""

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.cli.commands.predicting import GOOD, assert_rejected, predict

from ctonnx.prediction.predictor import Predictor

# --- counts ----------------------------------------------------------------------------------------------------------


def test_frames_are_counted_as_images_of_their_file(model: Path, scans: Path) -> None:
    pytest.importorskip("pydicom")
    from tests.runtime.images.dicom.dicom_files import encoded, make

    (scans / "stack.dcm").write_bytes(encoded(make(np.zeros((3, 40, 50), np.int16))))
    result = predict("scans", "-m", model)
    assert re.search(
        r"^5 files, 7 images: 6 predicted \(\d positive, \d negative, \d refer\), 1 failed; ",
        result.stderr,
        re.MULTILINE,
    )
    alone = predict("scans/stack.dcm", "-m", model)
    assert re.search(r"^1 file, 3 images: 3 predicted ", alone.stderr, re.MULTILINE)


# --- suspicious images -----------------------------------------------------------------------------------------------


def test_only_suspicious_images_and_failures_are_shown(model: Path, scans: Path, point_at: Any) -> None:
    with Predictor(model) as predictor:
        values = {file: predictor.predict(file).probabilities["normal"] for file in GOOD}
    low, middle, _ = sorted(values.values())
    point_at((low + middle) / 2)
    expected = sorted(["scans/b.png", *(file for file, value in values.items() if value > low)])
    result = predict("scans", "-m", model, "--format", "csv", "--suspicious-only", "--heatmaps", "maps")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["file"] for row in rows] == expected
    assert [row["suspicious"] for row in rows if not row["error"]] == ["true", "true"]
    assert len(list(Path("maps").rglob("*.png"))) == 2
    assert re.search(
        r"^4 files: 3 predicted \(2 positive, 1 negative, 0 refer\), 1 failed; ", result.stderr, re.MULTILINE
    )


def test_suspicious_only_without_an_operating_point_is_rejected(model: Path, scans: Path, point_at: Any) -> None:
    point_at(None)
    result = predict("scans", "-m", model, "--suspicious-only")
    assert_rejected(
        result,
        f"expected a model with an operating point for --suspicious-only, found none in '{model}'; train it on images "
        "of suspicious and other classes",
    )


# --- batches and progress --------------------------------------------------------------------------------------------


def test_batch_size_is_a_number_or_chosen(model: Path, scans: Path) -> None:
    rows = {predict("scans", "-m", model, "--batch-size", size).stdout for size in ("auto", "1", "7")}
    assert len(rows) == 1
    assert "'many' is not a valid integer range" in predict("scans", "-m", model, "--batch-size", "many").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made with pty")
def test_terminal_sees_progress_where_rows_go_elsewhere_and_a_pipe_does_not(model: Path, scans: Path) -> None:
    import pty

    command = [sys.executable, "-m", "ctonnx", "predict", "scans", "-m", str(model), "--output", "rows.csv"]
    terminal, end = pty.openpty()
    subprocess.run(command, check=False, stdout=end, stderr=end)
    os.close(end)
    seen = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "predicting" in seen
    assert "4/4" in seen
    assert "images/s" in seen.partition("4/4")[2].partition("\n")[0]
    piped = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "predicting" not in piped.stderr + piped.stdout
