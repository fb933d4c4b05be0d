"""`ctonnx predict`: only rows on stdout, in the order of the files, and the summary on stderr."""

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.runtime.cli.commands.predicting import changed_spec, predict

from ctonnx.artifacts.caveats import caveats_of, missing_checks
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction

CLASSES = {"cavitating", "large central", "normal", "small peripheral"}
NOTE = "note: this model was trained on synthetic phantoms; its predictions have no clinical meaning"
SUMMARY = r"%d files: %d predicted \(%d positive, %d negative, %d refer\), %d failed; \d+\.\d images/s"


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in a folder with scans/: two good images, and between them an empty, a damaged and a text file."""
    folder = tmp_path / "scans"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2, 80, 100)).astype(np.uint8)
    Image.fromarray(noise[0]).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"")
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:1500])
    (folder / "d").write_text("patient,age\n", encoding="utf-8")
    Image.fromarray(noise[1]).save(folder / "e.png")
    monkeypatch.chdir(tmp_path)
    return folder


GOOD = ["scans/a.png", "scans/e.png"]
ERRORS = {
    "scans/b.png": "the file is empty (0 bytes)",
    "scans/c.png": "damaged image: image file is truncated",
    "scans/d": "not an image in a format that can be read, but a text file",
}
FILES = sorted([*GOOD, *ERRORS])


def expected(model: Path) -> dict[str, Prediction]:
    """Returns the predictions for the good files."""
    with Predictor(model) as predictor:
        return {file: predictor.predict(file) for file in GOOD}


# --- formats ---------------------------------------------------------------------------------------------------------


def test_table_has_a_row_for_each_file_in_its_place(model: Path, scans: Path) -> None:
    result = predict("scans", "-m", model)
    assert result.exit_code == 1
    head, *rows = result.stdout.splitlines()
    assert re.split(r"  +", head) == ["file", "decision", "score", "class", "probability"]
    predictions = expected(model)
    for file, row in zip(FILES, rows, strict=True):
        if file in ERRORS:
            assert re.split(r"  +", row, maxsplit=1) == [file, f"error: {ERRORS[file]}"]
        else:
            name, decision, score, label, probability, *_ = re.split(r"  +", row)
            assert (name, label) == (file, predictions[file].label)
            assert decision == predictions[file].decision
            assert score == f"{predictions[file].score:.6f}"
            assert probability == f"{predictions[file].probability:.4f}"


@pytest.mark.parametrize("top_k", [1, 3, 99])
def test_csv_has_a_row_for_each_file_in_its_place(model: Path, scans: Path, top_k: int) -> None:
    result = predict("scans", "-m", model, "--format", "csv", "--top-k", str(top_k))
    assert result.exit_code == 1
    shown = min(top_k, len(CLASSES))
    rows = list(csv.DictReader(io.StringIO(result.stdout, newline="")))
    assert [row["file"] for row in rows] == FILES
    predictions = expected(model)
    for row in rows:
        ranks = [""] if shown == 1 else [f"_{rank}" for rank in range(1, shown + 1)]
        found = [(row[f"label{rank}"], row[f"probability{rank}"]) for rank in ranks]
        assert row["error"] == ERRORS.get(row["file"], "")
        assert len(row) == 2 * shown + 15
        if row["file"] in ERRORS:
            assert (found, row["suspicious"], row["score"]) == ([("", "")] * shown, "", "")
        else:
            prediction = predictions[row["file"]]
            assert row["suspicious"] == {None: "", True: "true", False: "false"}[prediction.suspicious]
            assert (row["decision"], row["reason"]) == (prediction.decision, prediction.reason or "")
            assert row["set"] == "|".join(prediction.prediction_set or ())
            assert row["unlike_training"] == str(prediction.is_novel).lower()
            assert row["score"] == f"{predictions[row['file']].score:.9f}"
            assert found == [(name, f"{value:.6f}") for name, value in predictions[row["file"]].top(shown)]


@pytest.mark.parametrize("top_k", [1, 2, 99])
def test_jsonl_has_a_document_for_each_file_in_its_place(model: Path, scans: Path, top_k: int) -> None:
    result = predict("scans", "-m", model, "--format", "jsonl", "--top-k", str(top_k))
    assert result.exit_code == 1
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["file"] for document in documents] == FILES
    predictions = expected(model)
    for document in documents:
        assert list(document) == [
            *("file", "label", "probability", "decision", "reason", "suspicious", "score", "set"),
            *("probabilities", "novelty", "novelty_percentile", "unlike_training", "frame", "caution", "error"),
            *("heatmap", "model_sha256", "threshold", "time"),
        ]
        assert document["error"] == ERRORS.get(document["file"])
        if document["file"] in ERRORS:
            assert (document["label"], document["probability"], document["probabilities"]) == (None, None, {})
            assert document["suspicious"] is document["decision"] is None
        else:
            prediction = predictions[document["file"]]
            assert (document["decision"], document["set"]) == (
                prediction.decision,
                list(prediction.prediction_set or ()),
            )
            assert (document["suspicious"], document["score"]) == (
                prediction.suspicious,
                pytest.approx(prediction.score),
            )
            assert (document["label"], document["probability"]) == (
                prediction.label,
                pytest.approx(prediction.probability, abs=1e-6),
            )
            assert document["probabilities"] == pytest.approx(dict(prediction.top(top_k)), abs=1e-6)


def test_good_files_end_with_exit_code_0(model: Path, scans: Path) -> None:
    result = predict(*GOOD, "-m", model, "--format", "csv")
    assert result.exit_code == 0
    assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == GOOD


def test_missing_file_has_a_row(model: Path, scans: Path) -> None:
    result = predict("scans/none.png", GOOD[0], "-m", model, "--format", "jsonl")
    assert result.exit_code == 1
    assert [json.loads(line)["error"] for line in result.stdout.splitlines()] == ["cannot be read: no such file", None]


@pytest.mark.parametrize("options", [("--batch-size", "1"), ("--batch-size", "2"), ("--threads", "1")])
def test_batch_size_and_threads_change_no_row(model: Path, scans: Path, options: tuple[str, ...]) -> None:
    assert predict("scans", "-m", model, *options).stdout == predict("scans", "-m", model).stdout


def test_pattern_is_expanded(model: Path, scans: Path) -> None:
    result = predict("scans/**/[ae].png", "-m", model, "--format", "csv")
    assert result.exit_code == 0
    assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == GOOD


def test_texts_beside_the_images_are_no_failure(model: Path, scans: Path) -> None:
    for name in ("b.png", "c.png", "d"):
        (scans / name).unlink()
    for name in ("README.txt", "phantom.json"):  # as `ctonnx data phantom` writes them
        (scans / name).write_text("{}", encoding="utf-8")
    result = predict("scans", "-m", model, "--format", "csv")
    assert result.exit_code == 0
    assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == GOOD
    assert "skipped: 2 other files ('scans/README.txt' first), no image by name and content\n" in result.stderr


# --- stderr ----------------------------------------------------------------------------------------------------------


def test_model_note_counts_and_operating_point_are_on_stderr(model: Path, scans: Path) -> None:
    with Predictor(model) as predictor:
        point = predictor.spec.operating_point
    assert point is not None
    found = Counter(prediction.decision for prediction in expected(model).values())
    lines = predict("scans", "-m", model).stderr.splitlines()
    assert lines[:2] == [f"model: {model} (fp32 on cpu)", NOTE]
    with Predictor(model) as predictor:
        caveats = caveats_of(predictor.spec)
        missing = missing_checks(predictor.spec)
    if missing is not None:
        assert lines.pop(2) == f"note: {missing}"
    assert lines[2] == f"caveat: {caveats[0]} ({len(caveats) - 1} more: ctonnx inspect {model})"
    assert re.fullmatch(SUMMARY % (5, 2, *(found[name] for name in ("positive", "negative", "refer")), 3), lines[3])
    assert lines[4] == (
        f"positive: cavitating + large central + small peripheral at {point.threshold!r} or more "
        f"({point.metrics_text} on the validation images)"
    )
    assert len(lines) == 5


@pytest.mark.parametrize(("place", "suspicious"), [(0, 2), (1, 1), (2, 0)])
def test_suspicious_images_are_counted(model: Path, scans: Path, place: int, suspicious: int) -> None:
    """The threshold is below, between and above the two good images' probabilities."""
    low, high = sorted(prediction.probabilities["normal"] for prediction in expected(model).values())
    threshold = (low / 2, (low + high) / 2, (high + 1) / 2)[place]
    point = {"positive": ["normal"], "threshold": threshold, "sensitivity": 0.9512, "specificity": 0.25}
    result = predict("scans", "-m", changed_spec(model, operating_point=point, prediction_sets=None, novelty=None))
    rows = [re.split(r"  +", row)[1] for row in result.stdout.splitlines()[1:]]
    assert (rows.count("positive"), rows.count("negative"), len(rows)) == (suspicious, 2 - suspicious, 5)
    *_, summary, last = result.stderr.splitlines()
    assert re.fullmatch(SUMMARY % (5, 2, suspicious, 2 - suspicious, 0, 3), summary)
    assert last == (
        f"positive: normal at {threshold!r} or more (sensitivity 0.951, specificity 0.250 on the validation images)"
    )


def test_model_without_an_operating_point_has_no_suspicious_column_and_count(model: Path, scans: Path) -> None:
    changed = changed_spec(model, operating_point=None)
    result = predict("scans", "-m", changed)
    assert re.split(r"  +", result.stdout.splitlines()[0]) == ["file", "class", "probability"]
    assert "positive" not in result.stderr
    assert re.fullmatch(r"5 files: 2 predicted, 3 failed; \d+\.\d images/s", result.stderr.splitlines()[-1])
    alone = predict("scans/a.png", "-m", changed)
    assert re.fullmatch(r"1 file: 1 predicted, 0 failed; \d+\.\d images/s", alone.stderr.splitlines()[-1])
    rows = csv.DictReader(io.StringIO(predict("scans", "-m", changed, "--format", "csv").stdout))
    assert [row["suspicious"] + row["decision"] for row in rows] == [""] * 5


def test_model_of_schema_1_is_decided_by_its_operating_point_with_a_note_on_what_it_lacks(
    model: Path, scans: Path
) -> None:
    older = changed_spec(model, schema_version=1, prediction_sets=None, novelty=None, brightness=None)
    result = predict("scans", "-m", older, "--format", "jsonl")
    notes = [line for line in result.stderr.splitlines() if "of this model" in line]
    assert notes == [
        "note: the decisions of this model rest on the operating point and the warnings about an image alone, without "
        "prediction sets and novelty; nothing warns of an image far darker or brighter than the training images; "
        "train again, and export, to change that"
    ]
    found = [document for document in map(json.loads, result.stdout.splitlines()) if document["error"] is None]
    assert [(document["decision"], document["set"]) for document in found] == [
        ("positive" if document["suspicious"] else "negative", None) for document in found
    ]
