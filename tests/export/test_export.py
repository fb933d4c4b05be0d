"""Export of a run: complete, checked, reproducible to the byte, or not written at all."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.cli.main import main
from ctonnx.errors import CheckFailed, CtonnxError, DataError
from ctonnx.images import load, to_pixels
from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx.parity.comparison import compare
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction
from ctonnx_export import (
    export,
    models,
)
from ctonnx_export.export import export_run
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_export.graph.execution import run_pytorch
from ctonnx_export.graph.simplification import Simplified
from ctonnx_export.image_sets import golden_rows
from ctonnx_train.runs.checkpoint import load_checkpoint

FILES = ["README.md", "bom.cdx.json", "golden.npz", "model.fp32.onnx", "report.json", "report.md"]


@pytest.fixture
def run(workspace: Path) -> Run:
    """A copy of the trained run that was never exported, in an otherwise empty working folder."""
    shutil.rmtree(workspace / "runs/tiny/export")
    return Run(workspace / "runs/tiny")


@pytest.fixture
def converted(exported_run: Run, monkeypatch: pytest.MonkeyPatch) -> onnx.ModelProto:
    """The run's exported model, used as the result of the conversion, to test the steps after it."""
    model = onnx.load(exported_run.model_file("fp32"))
    del model.metadata_props[:]
    monkeypatch.setattr(models, "convert", lambda graph, size: model)
    monkeypatch.setattr(models, "simplify", lambda model, pixels: Simplified(model, "simplified"))
    return model


def change_bias(model: onnx.ModelProto, change: float) -> None:
    """Adds a number to the bias of the first class."""
    bias = next(weights for weights in model.graph.initializer if weights.name.endswith("dense3.bias"))
    values = onnx.numpy_helper.to_array(bias) + np.array([change, 0, 0, 0], np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_export_folder_contains_the_model_its_golden_inputs_and_its_report(exported_run: Run) -> None:
    assert sorted(file.name for file in exported_run.export_folder.iterdir()) == FILES


def test_two_exports_of_one_run_are_equal_byte_for_byte(exported_run: Run, tmp_path: Path) -> None:
    """In two processes with other hash seeds: the tests' own, and one that has done nothing else and has no streams."""
    command = [sys.executable, "-m", "ctonnx", "export", str(exported_run.folder), "--output", str(tmp_path / "again")]
    if os.name == "posix":
        command = ["/bin/sh", "-c", f"exec {shlex.join(command)} <&- >&- 2>&-"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    again = contents(tmp_path / "again")
    assert sorted(again) == FILES
    assert again == contents(exported_run.export_folder)


def test_exported_model_agrees_with_the_checkpoint(exported_run: Run, phantoms: Path) -> None:
    checkpoint = load_checkpoint(exported_run)
    files = sorted((phantoms / "test").rglob("*.png"))
    with Predictor(exported_run.model_file("fp32")) as predictor:
        for file in files[:3]:
            prediction = predictor.predict(file)
            with torch.inference_mode():
                pixels = to_pixels(load(file), checkpoint.record.preprocessing)
                logits = checkpoint.network(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].numpy()
            np.testing.assert_allclose(prediction.logits, logits, atol=1e-4)


def test_spec_in_the_model_contains_what_a_runtime_needs(exported_run: Run) -> None:
    record = json.loads(exported_run.record_file.read_text())
    model = onnx.load(exported_run.model_file("fp32"))
    spec = ModelSpec.from_json({item.key: item.value for item in model.metadata_props}[METADATA_KEY])
    assert spec.classes == ("cavitating", "large central", "normal", "small peripheral")
    assert spec.preprocessing.size == 64
    assert (spec.name, spec.precision, spec.synthetic) == ("tiny", "fp32", True)
    assert spec.created == record["created"]
    assert spec.data["fingerprint"] == record["data"]["fingerprint"]
    assert spec.data == {name: value for name, value in record["data"].items() if name != "folder"}
    assert spec.data["leaks"]["leaked"] == {"valid": 0, "test": 0}
    assert spec.metrics == record["metrics"]
    assert spec.parity["images"] == record["metrics"]["valid"]["images"]
    assert spec.parity["max_dp"] <= 1e-4
    assert spec.temperature == record["temperature"]
    assert spec.operating_point == OperatingPoint.from_dict(record["operating_point"])
    assert spec.shortcuts == record["shortcuts"]
    assert spec.brightness is not None
    assert asdict(spec.brightness) == record["brightness"]
    assert spec.acquisition == record["acquisition"]
    assert record["shortcuts"]["verdict"] == "untested"
    assert record["acquisition"]["medians"]["width"] == 96.0
    assert spec.prediction_sets is not None
    assert json.loads(json.dumps(asdict(spec.prediction_sets))) == record["prediction_sets"]


def test_predictor_reproduces_the_metrics_of_the_operating_point_on_the_validation_images(
    exported_run: Run, phantoms: Path
) -> None:
    samples = load_checkpoint(exported_run).samples("valid")
    with Predictor(exported_run.model_file("fp32")) as predictor:
        predictions = list(predictor.predict_many(phantoms / sample.path for sample in samples))
        point, classes = predictor.spec.operating_point, predictor.spec.classes
    assert point is not None
    found = [prediction for prediction in predictions if isinstance(prediction, Prediction)]
    called = np.array([(prediction.score or 0.0) >= point.threshold for prediction in found])
    positive = np.array([classes[sample.label] in point.positive for sample in samples])
    assert called[positive].mean() == pytest.approx(point.sensitivity, abs=1e-6)
    assert (~called[~positive]).mean() == pytest.approx(point.specificity, abs=1e-6)


def test_golden_inputs_have_pytorchs_outputs_and_cover_every_class(exported_run: Run) -> None:
    checkpoint = load_checkpoint(exported_run)
    golden = load_golden(exported_run.export_folder / "golden.npz")
    assert golden.checkpoint_sha256 == checkpoint.sha256
    assert golden.pixels.shape == (8, 64, 64, 3)
    graph = DeployGraph(checkpoint.network, checkpoint.record.temperature, checkpoint.novelty)
    assert compare(run_pytorch(graph, [golden.pixels]), golden.outputs).max_dp <= 1e-6
    labels = [sample.label for sample in checkpoint.samples("valid")]
    chosen = golden_rows(labels)
    assert {labels[row] for row in chosen} == {0, 1, 2, 3}


def test_golden_pixels_are_those_that_prediction_would_see(exported_run: Run, phantoms: Path) -> None:
    checkpoint = load_checkpoint(exported_run)
    samples = checkpoint.samples("valid")
    chosen = [samples[row] for row in golden_rows([sample.label for sample in samples])]
    expected = [to_pixels(load(phantoms / sample.path), checkpoint.record.preprocessing) for sample in chosen]
    np.testing.assert_array_equal(load_golden(exported_run.export_folder / "golden.npz").pixels, np.stack(expected))


def test_model_that_disagrees_leaves_nothing_behind(run: Run, converted: onnx.ModelProto) -> None:
    change_bias(converted, 0.01)
    before = sorted(run.folder.iterdir())
    with pytest.raises(
        CheckFailed, match=r"^the FP32 model of '.*tiny' does not agree with its PyTorch original on 8 "
    ):
        export_run(run)
    assert sorted(run.folder.iterdir()) == before


def test_failed_gate_ends_the_command_with_exit_code_1_and_keeps_an_earlier_export(
    workspace: Path, converted: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "fp32", Gate(max_dp=-1.0, min_agreement=0.0))
    export = workspace / "runs/tiny/export"
    before = contents(export)
    result = CliRunner().invoke(main, ["export"])
    assert result.exit_code == 1
    assert "Nothing was written" in result.stderr
    assert result.stdout == ""
    assert contents(export) == before
    assert sorted(path.name for path in (workspace / "runs/tiny").iterdir() if path.name.startswith(".")) == []


def test_nan_in_the_checkpoint_does_not_pass_the_gate(run: Run, converted: onnx.ModelProto) -> None:
    """Although both models agree: their outputs are NaN."""
    change_bias(converted, float("nan"))
    weights = load_file(run.weights_file)
    weights["head.dense3.bias"][0] = float("nan")
    save_file(weights, run.weights_file)
    record = json.loads(run.record_file.read_text(encoding="utf-8"))
    digest = hashlib.sha256(run.weights_file.read_bytes()).hexdigest()
    run.record_file.write_text(json.dumps({**record, "weights_sha256": digest}), encoding="utf-8")
    with pytest.raises(CheckFailed, match=r"max \|dp\| is nan, at most 0.0001 is allowed"):
        export_run(run)
    assert not run.export_folder.exists()


def test_interrupted_export_leaves_nothing_behind(
    run: Run, converted: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "save_golden", interrupt)
    before = sorted(run.folder.iterdir())
    with pytest.raises(KeyboardInterrupt):
        export_run(run)
    assert sorted(run.folder.iterdir()) == before


def test_leftovers_of_killed_exports_are_removed_and_logged(
    run: Run, converted: onnx.ModelProto, leave_behind: Callable[[Path], Path]
) -> None:
    left, messages = [leave_behind(run.export_folder) for _ in range(2)], list[str]()
    export_run(run, log=messages.append)
    assert messages[0] == (
        f"removed 2 temporary files or folders of a killed process from '{run.folder}': "
        + ", ".join(f"'{name}'" for name in sorted(path.name for path in left))
    )
    assert sorted(path.name for path in run.folder.iterdir() if path.name.startswith(".")) == []
    assert sorted(file.name for file in run.export_folder.iterdir()) == FILES


def test_data_that_moved_is_found_with_the_data_option(
    run: Run, converted: onnx.ModelProto, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = json.loads(run.record_file.read_text())
    record["data"]["folder"] = str(tmp_path / "gone")
    run.record_file.write_text(json.dumps(record))
    first = sorted(json.loads(run.splits_file.read_text())["valid"])[0][0]
    with pytest.raises(DataError) as caught:
        export_run(run)
    assert str(caught.value) == (
        f"expected the run's 8 validation images in '{tmp_path / 'gone'}', found 8 missing ('{first}' first); "
        "name the folder or file that contains them with --data"
    )
    result = CliRunner().invoke(main, ["export", "runs/tiny", "--data", str(phantoms), "--output", "out"])
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in Path("out").iterdir()) == FILES


def test_validation_image_that_was_damaged_since_is_named(run: Run, phantoms: Path, tmp_path: Path) -> None:
    shutil.copytree(phantoms, tmp_path / "damaged")
    first = load_checkpoint(run).samples("valid")[0].path
    (tmp_path / "damaged" / first).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        export_run(run, data=tmp_path / "damaged")
    assert str(caught.value) == (
        f"expected 8 readable images, found 1 that is not: {tmp_path / 'damaged' / first}: the file is empty "
        "(0 bytes); fix these files or move them out of the data folder"
    )
    assert not run.export_folder.exists()


def test_folder_with_other_files_is_not_replaced(exported_run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CtonnxError) as caught:
        export_run(exported_run, output=tmp_path)
    assert str(caught.value) == (
        f"expected a new folder or an earlier export at '{tmp_path}', found other files ('thesis.txt' first); "
        "choose another --output"
    )
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_earlier_export_with_a_users_file_in_it_is_not_replaced(workspace: Path) -> None:
    (workspace / "runs/tiny/export/notes.md").write_text("mine")
    result = CliRunner().invoke(main, ["export"])
    assert result.exit_code == 2
    assert "found other files ('notes.md' first)" in result.stderr
    assert (workspace / "runs/tiny/export/notes.md").read_text() == "mine"


def test_too_small_a_disk_is_reported_before_the_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_export.export.shutil.disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    with pytest.raises(CtonnxError) as caught:
        export_run(run, precisions=["fp32", "int8"])
    needed = 2 * run.weights_file.stat().st_size
    assert str(caught.value) == (
        f"expected {needed / 1e6:.0f} MB of free disk space in '{run.folder}' for the export, found 1 MB; free "
        "some space, or choose another --output"
    )
    assert not run.export_folder.exists()


def test_foreign_report_does_not_make_a_folder_an_export(exported_run: Run, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"tests": 12}')
    with pytest.raises(CtonnxError, match=r"found other files \('report.json' first\)"):
        export_run(exported_run, output=tmp_path)


def test_export_without_a_run_shows_how_to_train_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["export"])
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: expected a trained run below 'runs/' (in '{tmp_path}'), found none; "
        "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: "
        "--model FILE)\n"
    )


def test_the_stress_test_of_these_weights_is_in_the_report_and_the_model_card(
    run: Run, converted: onnx.ModelProto
) -> None:
    changed = {"count": 1, "images": 8, "share": 0.125}
    kinds = ("decision_changed", "flipped", "newly_referred", "class_changed")
    steps = [{"shown": "x 0.8", **dict.fromkeys(kinds, changed)}]
    sha256 = load_checkpoint(run).sha256
    stress = {
        "checkpoint_sha256": sha256,
        "model": {"file": "model.safetensors", "kind": "PyTorch checkpoint", "precision": "fp32", "sha256": sha256},
        "data": {"name": "scans", "fingerprint": "ab"},
        "split": "test",
        "images": 8,
        "transforms": [{"title": "darker", "judged_by": "decision_changed", "strengths": steps}],
    }
    run.stress_file.write_text(json.dumps(stress), encoding="utf-8")
    export_run(run)
    for name in ("README.md", "report.md"):
        assert "| darker | x 0.8: 12.5% |" in (run.export_folder / name).read_text(encoding="utf-8")
