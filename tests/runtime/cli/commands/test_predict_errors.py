"""`ctonnx predict`: one sentence for wrong use, and nothing on stdout."""

import re
from pathlib import Path

import onnx
import onnxruntime
import pytest
from click.testing import Result
from onnx import TensorProto, helper
from tests.runtime.cli.commands.predicting import predict


def assert_rejected(result: Result, sentence: str) -> None:
    """Checks that a command ended with exit code 2, with one sentence on stderr and nothing on stdout."""
    assert (result.stdout, result.stderr, result.exit_code) == ("", f"Error: {sentence}\n", 2)


def test_folder_without_images_is_rejected(model: Path, scans: Path) -> None:
    Path("none").mkdir()
    assert_rejected(
        predict("none", "-m", model),
        "expected images in 'none', found an empty folder; name a folder with PNG, JPEG or TIFF files",
    )


def test_pattern_that_matches_nothing_is_rejected(model: Path, scans: Path) -> None:
    assert_rejected(
        predict("scans/*.tif", "-m", model),
        f"expected files that match 'scans/*.tif', found none (in '{scans.parent}'); check the pattern",
    )


def test_no_run_is_rejected(scans: Path) -> None:
    assert_rejected(
        predict("scans"),
        f"expected a trained run below 'runs/' (in '{scans.parent}'), found none; "
        "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: "
        "--model FILE)",
    )


def test_run_that_does_not_exist_is_rejected(scans: Path) -> None:
    assert_rejected(
        predict("scans", "-m", "lungs"),
        "expected a run's folder (with model.safetensors and run.json) at 'lungs' or 'runs/lungs', found none; "
        "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: "
        "--model FILE)",
    )


def test_missing_model_is_rejected(scans: Path) -> None:
    assert_rejected(
        predict("scans", "-m", "none.onnx"),
        "expected an .onnx file, found no file at 'none.onnx'; list them with: ls runs/*/export",
    )


def test_model_without_a_spec_is_rejected(scans: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "foreign.onnx")
    assert_rejected(
        predict("scans", "-m", "foreign.onnx"),
        "'foreign.onnx' is an ONNX model without a ctonnx spec, so its classes and its preprocessing are unknown; "
        "make one with: ctonnx export RUN",
    )


@pytest.mark.parametrize("kind", ["truncated", "text"])
def test_damaged_model_is_rejected(kind: str, model: Path, scans: Path) -> None:
    with model.open("rb") as whole:
        Path("bad.onnx").write_bytes(whole.read(1_000_000) if kind == "truncated" else b"a letter\n")
    result = predict("scans", "-m", "bad.onnx")
    assert (result.stdout, result.exit_code) == ("", 2)
    assert re.fullmatch(
        r"Error: 'bad\.onnx' is not a whole ONNX model \([^\n]+\); "
        r"if it was copied or downloaded, do that again, else export it again\n",
        result.stderr,
    )


def test_cuda_is_rejected_if_it_is_missing(model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr("ctonnx.inference.diagnosis.nvidia_driver", lambda: None)
    for device, message in (
        (False, "the provider 'cuda' does not run here: this machine has no NVIDIA GPU; run on --provider cpu here"),
        (True, "the provider 'cuda' needs CUDAExecutionProvider, which the installed onnxruntime does not have"),
    ):
        monkeypatch.setattr("ctonnx.inference.diagnosis.has_nvidia_device", lambda device=device: device)
        result = predict("scans", "-m", model, "--provider", "cuda")
        assert (result.stdout, result.exit_code, len(result.stderr.splitlines())) == ("", 2, 1)
        assert result.stderr.startswith(f"Error: {message}")
