"""`ctonnx predict`: rows and nothing else on stdout, each file in its place, one sentence for wrong use."""

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from PIL import Image

from ctonnx.artifacts.caveats import model_caveats
from ctonnx.cli.main import main
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction

CLASSES = {"cavitating", "large central", "normal", "small peripheral"}
NOTE = "note: this model was trained on synthetic phantoms; its predictions have no clinical meaning"
SUMMARY = r"%d files: %d predicted \(%d suspicious\), %d failed; \d+\.\d images/s"


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in a folder with scans/: two good images, and between them an empty, a damaged and a text file."""
    folder = tmp_path / "scans"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2, 80, 100)).astype(np.uint8)
    Image.fromarray(noise[0]).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"")
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:1500])
    (folder / "d.txt").write_text("patient,age\n", encoding="utf-8")
    Image.fromarray(noise[1]).save(folder / "e.png")
    monkeypatch.chdir(tmp_path)
    return folder


GOOD = ["scans/a.png", "scans/e.png"]
ERRORS = {
    "scans/b.png": "the file is empty (0 bytes)",
    "scans/c.png": "damaged image: image file is truncated",
    "scans/d.txt": "not an image in a format that can be read, but a text file",
}
FILES = sorted([*GOOD, *ERRORS])


def predict(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)])


def expected(model: Path) -> dict[str, Prediction]:
    """Returns the predictor's own answers for the good files."""
    with Predictor(model) as predictor:
        return {file: predictor.predict(file) for file in GOOD}


def assert_refused(result: Result, sentence: str) -> None:
    """Checks that a command ended with exit code 2, with one sentence on stderr and nothing on stdout."""
    assert (result.stdout, result.stderr, result.exit_code) == ("", f"Error: {sentence}\n", 2)


# --- formats ---------------------------------------------------------------------------------------------------------


def test_table_has_a_row_for_each_file_in_its_place(model: Path, scans: Path) -> None:
    result = predict("scans", "-m", model)
    assert result.exit_code == 1
    head, *rows = result.stdout.splitlines()
    assert re.split(r"  +", head) == ["file", "suspicious", "score", "class", "probability"]
    answers = expected(model)
    for file, row in zip(FILES, rows, strict=True):
        if file in ERRORS:
            assert re.split(r"  +", row, maxsplit=1) == [file, f"error: {ERRORS[file]}"]
        else:
            name, suspicious, score, label, probability = re.split(r"  +", row)
            assert (name, label) == (file, answers[file].label)
            assert suspicious == ("yes" if answers[file].suspicious else "no")
            assert score == f"{answers[file].score:.6f}"
            assert probability == f"{answers[file].probability:.4f}"


@pytest.mark.parametrize("top_k", [1, 3, 99])
def test_csv_has_a_row_for_each_file_in_its_place(model: Path, scans: Path, top_k: int) -> None:
    result = predict("scans", "-m", model, "--format", "csv", "--top-k", str(top_k))
    assert result.exit_code == 1
    shown = min(top_k, len(CLASSES))
    rows = list(csv.DictReader(io.StringIO(result.stdout, newline="")))
    assert [row["file"] for row in rows] == FILES
    answers = expected(model)
    for row in rows:
        ranks = [""] if shown == 1 else [f"_{rank}" for rank in range(1, shown + 1)]
        found = [(row[f"label{rank}"], row[f"probability{rank}"]) for rank in ranks]
        assert row["error"] == ERRORS.get(row["file"], "")
        assert len(row) == 2 * shown + 9
        if row["file"] in ERRORS:
            assert (found, row["suspicious"], row["score"]) == ([("", "")] * shown, "", "")
        else:
            assert row["suspicious"] == str(answers[row["file"]].suspicious).lower()
            assert row["score"] == f"{answers[row['file']].score:.9f}"
            assert found == [(name, f"{value:.6f}") for name, value in answers[row["file"]].top(shown)]


@pytest.mark.parametrize("top_k", [1, 2, 99])
def test_jsonl_has_a_document_for_each_file_in_its_place(model: Path, scans: Path, top_k: int) -> None:
    result = predict("scans", "-m", model, "--format", "jsonl", "--top-k", str(top_k))
    assert result.exit_code == 1
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["file"] for document in documents] == FILES
    answers = expected(model)
    for document in documents:
        assert list(document) == [
            *("file", "label", "probability", "suspicious", "score", "probabilities", "frame", "caution", "error"),
            *("heatmap", "model_sha256", "threshold", "time"),
        ]
        assert document["error"] == ERRORS.get(document["file"])
        if document["file"] in ERRORS:
            assert (document["label"], document["probability"], document["probabilities"]) == (None, None, {})
            assert document["suspicious"] is None
        else:
            answer = answers[document["file"]]
            assert (document["suspicious"], document["score"]) == (answer.suspicious, pytest.approx(answer.score))
            assert (document["label"], document["probability"]) == (
                answer.label,
                pytest.approx(answer.probability, abs=1e-6),
            )
            assert document["probabilities"] == pytest.approx(dict(answer.top(top_k)), abs=1e-6)


def test_good_files_alone_end_with_exit_code_0(model: Path, scans: Path) -> None:
    result = predict(*GOOD, "-m", model, "--format", "csv")
    assert result.exit_code == 0
    assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == GOOD


def test_missing_file_gets_its_record(model: Path, scans: Path) -> None:
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


# --- stderr ----------------------------------------------------------------------------------------------------------


def changed_spec(model: Path, **changes: Any) -> Path:
    """Writes a copy of a model whose spec has changes, and returns its path."""
    loaded = onnx.load(model)
    (metadata,) = loaded.metadata_props
    metadata.value = json.dumps({**json.loads(metadata.value), **changes})
    onnx.save(loaded, "changed.onnx")
    return Path("changed.onnx")


def test_model_the_note_the_counts_and_the_operating_point_stand_on_stderr(model: Path, scans: Path) -> None:
    with Predictor(model) as predictor:
        point = predictor.spec.operating_point
    assert point is not None
    suspicious = sum(bool(answer.suspicious) for answer in expected(model).values())
    lines = predict("scans", "-m", model).stderr.splitlines()
    assert lines[:2] == [f"model: {model} (fp32 on cpu)", NOTE]
    with Predictor(model) as predictor:
        caveats = model_caveats(predictor.spec.metrics, predictor.spec.operating_point)
    assert lines[2] == f"caveat: {caveats[0]} ({len(caveats) - 1} more: ctonnx inspect {model})"
    assert re.fullmatch(SUMMARY % (5, 2, suspicious, 3), lines[3])
    assert lines[4] == (
        f"suspicious: cavitating + large central + small peripheral at {point.threshold!r} or more "
        f"({point.metrics_text} on its validation images)"
    )
    assert len(lines) == 5


@pytest.mark.parametrize(("place", "suspicious"), [(0, 2), (1, 1), (2, 0)])
def test_suspicious_images_are_counted(model: Path, scans: Path, place: int, suspicious: int) -> None:
    """The threshold stands below, between and above the two good images' probabilities."""
    low, high = sorted(answer.probabilities["normal"] for answer in expected(model).values())
    threshold = (low / 2, (low + high) / 2, (high + 1) / 2)[place]
    point = {"positive": ["normal"], "threshold": threshold, "sensitivity": 0.9512, "specificity": 0.25}
    result = predict("scans", "-m", changed_spec(model, operating_point=point))
    rows = [re.split(r"  +", row)[1] for row in result.stdout.splitlines()[1:]]
    assert (rows.count("yes"), rows.count("no"), len(rows)) == (suspicious, 2 - suspicious, 5)
    *_, summary, last = result.stderr.splitlines()
    assert re.fullmatch(SUMMARY % (5, 2, suspicious, 3), summary)
    assert last == (
        f"suspicious: normal at {threshold!r} or more (sensitivity 0.951, specificity 0.250 on its validation images)"
    )


def test_model_without_an_operating_point_says_nothing_of_suspicious_images(model: Path, scans: Path) -> None:
    changed = changed_spec(model, operating_point=None)
    result = predict("scans", "-m", changed)
    assert re.split(r"  +", result.stdout.splitlines()[0]) == ["file", "class", "probability"]
    assert "suspicious" not in result.stderr
    assert re.fullmatch(r"5 files: 2 predicted, 3 failed; \d+\.\d images/s", result.stderr.splitlines()[-1])
    alone = predict("scans/a.png", "-m", changed)
    assert re.fullmatch(r"1 file: 1 predicted, 0 failed; \d+\.\d images/s", alone.stderr.splitlines()[-1])
    rows = csv.DictReader(io.StringIO(predict("scans", "-m", changed, "--format", "csv").stdout))
    assert [row["suspicious"] for row in rows] == [""] * 5


def test_model_trained_on_scans_has_no_note(model: Path, scans: Path) -> None:
    result = predict(*GOOD, "-m", changed_spec(model, synthetic=False))
    assert result.exit_code == 0
    assert len(result.stderr.splitlines()) == 4
    assert "synthetic" not in result.stderr


def test_newest_run_is_found_and_named(workspace: Path, scans: Path) -> None:
    result = predict("scans/a.png")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "model: runs/tiny/export/model.fp32.onnx (fp32 on cpu, the newest run's)"
    for given in ("tiny", "runs/tiny", "runs/tiny/export/model.fp32.onnx"):
        named = predict("scans/a.png", "--model", given)
        assert named.stdout == result.stdout
        assert named.stderr.splitlines()[0] == "model: runs/tiny/export/model.fp32.onnx (fp32 on cpu)"


def test_newest_run_with_an_export_is_taken_and_a_newer_one_without_is_named(workspace: Path, scans: Path) -> None:
    """What is taken, and that a later training exists, is said by every command that is given no model."""
    record = json.loads((workspace / "runs/tiny/run.json").read_text())
    later = workspace / "runs/later"
    later.mkdir()
    (later / "model.safetensors").touch()
    (later / "run.json").write_text(json.dumps({**record, "created": "2999-01-01T00:00:00+00:00"}))
    note = (
        "note: run 'later' was trained later and has no export, so 'tiny' is used; export it with: "
        "ctonnx export runs/later"
    )
    words = "of run 'tiny', the only one with an export"
    found = predict("scans/a.png")
    assert (found.exit_code, found.stderr.splitlines()[:2]) == (
        0,
        [f"model: runs/tiny/export/model.fp32.onnx (fp32 on cpu, {words})", note],
    )
    assert note not in predict("scans/a.png", "--model", "tiny").stderr
    inspected = CliRunner().invoke(main, ["inspect"])
    assert inspected.stderr.splitlines()[:2] == [f"model: runs/tiny/export/model.fp32.onnx ({words})", note]
    verified = CliRunner().invoke(main, ["verify"])
    assert (verified.exit_code, verified.stderr) == (0, f"{note}\n")
    shutil.copytree("runs/tiny/export", later / "export")
    taken = predict("scans/a.png").stderr.splitlines()
    assert taken[0] == (
        "model: runs/later/export/model.fp32.onnx (fp32 on cpu, of run 'later', the newest of 2 with an export)"
    )
    assert not any("was trained later" in line for line in taken)


# --- wrong use -------------------------------------------------------------------------------------------------------


def test_folder_without_images_is_refused(model: Path, scans: Path) -> None:
    Path("none").mkdir()
    assert_refused(
        predict("none", "-m", model),
        "expected images in 'none', found an empty folder; name a folder with PNG, JPEG or TIFF files",
    )


def test_pattern_that_matches_nothing_is_refused(model: Path, scans: Path) -> None:
    assert_refused(
        predict("scans/*.tif", "-m", model),
        f"expected files that match 'scans/*.tif', found none (in '{scans.parent}'); check the pattern",
    )


def test_no_run_is_refused(scans: Path) -> None:
    assert_refused(
        predict("scans"),
        f"expected a trained run below 'runs/' (in '{scans.parent}'), found none; "
        "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: "
        "--model FILE)",
    )


def test_run_that_does_not_exist_is_refused(scans: Path) -> None:
    assert_refused(
        predict("scans", "-m", "lungs"),
        "expected a run's folder (with model.safetensors and run.json) at 'lungs' or 'runs/lungs', found none; "
        "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: "
        "--model FILE)",
    )


def test_missing_model_is_refused(scans: Path) -> None:
    assert_refused(
        predict("scans", "-m", "none.onnx"),
        "expected an .onnx file, found no file at 'none.onnx'; see which there are: ls runs/*/export",
    )


def test_model_without_a_spec_is_refused(scans: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "foreign.onnx")
    assert_refused(
        predict("scans", "-m", "foreign.onnx"),
        "'foreign.onnx' is an ONNX model without a ctonnx spec, so its classes and its preprocessing are unknown; "
        "make one with: ctonnx export RUN",
    )


@pytest.mark.parametrize("kind", ["truncated", "text"])
def test_damaged_model_is_refused(kind: str, model: Path, scans: Path) -> None:
    with model.open("rb") as whole:
        Path("bad.onnx").write_bytes(whole.read(1_000_000) if kind == "truncated" else b"a letter\n")
    result = predict("scans", "-m", "bad.onnx")
    assert (result.stdout, result.exit_code) == ("", 2)
    assert re.fullmatch(
        r"Error: 'bad\.onnx' is not a whole ONNX model \([^\n]+\); "
        r"if it was copied or downloaded, do that again, else export it again\n",
        result.stderr,
    )


def test_cuda_is_refused_where_there_is_none(model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr("ctonnx.inference.diagnosis.nvidia_driver", lambda: None)
    for device, said in (
        (False, "the provider 'cuda' does not run here: this machine has no NVIDIA GPU; run on --provider cpu here"),
        (True, "the provider 'cuda' needs CUDAExecutionProvider, which the installed onnxruntime does not have"),
    ):
        monkeypatch.setattr("ctonnx.inference.diagnosis.has_nvidia_device", lambda device=device: device)
        result = predict("scans", "-m", model, "--provider", "cuda")
        assert (result.stdout, result.exit_code, len(result.stderr.splitlines())) == ("", 2, 1)
        assert result.stderr.startswith(f"Error: {said}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing argument 'PATH...'."),
        (("scans", "--top-k", "0"), "Invalid value for '--top-k': 0 is not in the range x>=1."),
        (("scans", "--batch-size", "0"), "Invalid value for '--batch-size': 0 is not in the range x>=1."),
        (("scans", "--threads", "0"), "Invalid value for '--threads': 0 is not in the range x>=1."),
        (
            ("scans", "--threads", "5000"),
            "Invalid value for '--threads': expected at most 64 threads, found 5000; this process may use 2 cores, and "
            "as many threads are the default.",
        ),
        (("scans", "--format", "xml"), "Invalid value for '--format': 'xml' is not one of 'table', 'jsonl', 'csv'."),
        (
            ("scans", "--provider", "tpu"),
            "Invalid value for '--provider': 'tpu' is not one of 'cpu', 'cuda', 'tensorrt', 'openvino', 'coreml', "
            "'directml'.",
        ),
    ],
)
def test_option_out_of_range_is_refused(
    words: tuple[str, ...], message: str, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("ctonnx.system.cpu.available_cores", lambda: 2)
    result = predict(*words)
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.splitlines()[-1] == f"Error: {message}"
