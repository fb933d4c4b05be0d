"""onnxsim simplifies a model, or leaves it unchanged if anything goes wrong."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from ctonnx.parity.comparison import compare
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.simplification import simplify


def test_simplified_model_gives_the_same_outputs(converted: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
    before = converted.SerializeToString()
    simplified = simplify(converted, pixels)
    assert simplified.note == "simplified"
    assert len(simplified.model.graph.node) <= len(converted.graph.node)
    assert compare(run_onnx(converted, [pixels]), run_onnx(simplified.model, [pixels])).max_dp <= 1e-6
    assert converted.SerializeToString() == before


def test_onnxsim_that_crashes_leaves_the_unsimplified_model(
    converted: onnx.ModelProto, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], -11, "", "warming up\nSegmentation fault\n")

    monkeypatch.setattr("ctonnx_export.graph.simplification.subprocess.run", crash)
    simplified = simplify(converted, pixels)
    assert simplified.model is converted
    assert simplified.note == "not simplified: onnxsim ended with exit code -11 (Segmentation fault)"


def test_onnxsim_that_hangs_leaves_the_unsimplified_model(
    converted: onnx.ModelProto, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*arguments: Any, timeout: float, **options: Any) -> None:
        raise subprocess.TimeoutExpired("onnxsim", timeout)

    monkeypatch.setattr("ctonnx_export.graph.simplification.subprocess.run", hang)
    simplified = simplify(converted, pixels)
    assert simplified.model is converted
    assert simplified.note == "not simplified: onnxsim took more than 300 s"


def _wrong_bias(model: onnx.ModelProto) -> None:
    bias = next(weights for weights in model.graph.initializer if weights.name.endswith("dense3.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([9, 0, 0], np.float32), bias.name))


def _renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "scores"


def _lost_node(model: onnx.ModelProto) -> None:
    del model.graph.node[20]


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (_wrong_bias, "not simplified: onnxsim's result differs by "),
        (_renamed_output, "not simplified: onnxsim changed the inputs or outputs"),
        (_lost_node, "not simplified: onnxsim's result does not run ("),
    ],
)
def test_onnxsim_that_damages_the_model_is_detected(
    converted: onnx.ModelProto, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, spoil: Any, note: str
) -> None:
    def spoiling(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        model = onnx.load(command[4])
        spoil(model)
        onnx.save(model, command[5])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("ctonnx_export.graph.simplification.subprocess.run", spoiling)
    simplified = simplify(converted, pixels)
    assert simplified.model is converted
    assert simplified.note.startswith(note)


def test_neither_files_of_the_working_folder_nor_pytorch_are_imported(
    converted: onnx.ModelProto, pixels: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"open({str(tmp_path / 'executed')!r}, 'w')"
    for file in (tmp_path / "here/onnxsim.py", tmp_path / "installed/torch.py"):
        file.parent.mkdir()
        file.write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    monkeypatch.chdir(tmp_path / "here")
    assert simplify(converted, pixels).note == "simplified"
    assert not (tmp_path / "executed").exists()
