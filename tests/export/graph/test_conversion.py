"""From the deploy graph to ONNX, and what may go wrong in simplifying it."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from tests.conftest import once

from ctonnx.artifacts.onnx_file.operators import OPSET
from ctonnx.parity.comparison import compare
from ctonnx_export.graph.conversion import convert
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_export.graph.execution import run_onnx, run_pytorch
from ctonnx_export.graph.simplification import simplify
from ctonnx_train.network.classifier import CTClassifier

SIZE = 64


@pytest.fixture(scope="module")
def graph() -> DeployGraph:
    torch.manual_seed(1)
    return DeployGraph(CTClassifier(3))


@pytest.fixture(scope="module")
def converted(graph: DeployGraph, shared_folder: Path) -> onnx.ModelProto:
    with once(shared_folder, "conversion") as missing:
        if missing:
            onnx.save(convert(graph, SIZE), shared_folder / "converted.onnx")
    return onnx.load(shared_folder / "converted.onnx")


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


def test_graph_starts_at_bytes_and_its_batch_is_free(converted: onnx.ModelProto) -> None:
    (pixels,) = converted.graph.input
    assert pixels.name == "pixels"
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert shape(pixels) == ["batch", SIZE, SIZE, 3]
    assert {output.name: shape(output) for output in converted.graph.output} == {
        "probabilities": ["batch", 3],
        "logits": ["batch", 3],
        "heatmap": ["batch", 3, SIZE // 32, SIZE // 32],
    }
    assert [(entry.domain, entry.version) for entry in converted.opset_import] == [("", OPSET)]


def test_batch_normalization_is_folded_into_the_convolutions(converted: onnx.ModelProto) -> None:
    kinds = [node.op_type for node in converted.graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Conv") == 53


def test_model_carries_no_trace_of_the_machine(converted: onnx.ModelProto) -> None:
    raw = converted.SerializeToString()
    assert b"site-packages" not in raw
    assert b'File "' not in raw


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_onnxruntime_answers_as_pytorch_at_every_batch(
    graph: DeployGraph, converted: onnx.ModelProto, pixels: NDArray[np.uint8], batch: int
) -> None:
    parity = compare(run_pytorch(graph, [pixels[:batch]]), run_onnx(converted, [pixels[:batch]]))
    assert parity.max_dp <= 1e-5
    assert parity.max_dheatmap <= 1e-4


def test_simplified_model_gives_the_same_answers(converted: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
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


@pytest.mark.parametrize("swallow", [True, False])
def test_interrupt_that_the_tracing_swallows_still_interrupts(
    graph: DeployGraph, monkeypatch: pytest.MonkeyPatch, swallow: bool
) -> None:
    def trace(*arguments: Any, **options: Any) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            if not swallow:
                raise TypeError("fake tensor raised TypeError") from error

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("torch.onnx.export", trace)
    with pytest.raises(KeyboardInterrupt):
        convert(graph, SIZE)
    assert signal.getsignal(signal.SIGINT) is before


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
def test_onnxsim_that_spoils_the_model_is_found_out(
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


@pytest.fixture(autouse=True)
def _no_output(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The exporter's account of its own steps stays off the terminal."""
    yield
    assert capsys.readouterr().out == ""


def test_files_of_the_working_folder_are_not_imported(
    converted: onnx.ModelProto, pixels: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxsim.py").write_text("open('executed', 'w')")
    monkeypatch.chdir(tmp_path)
    assert simplify(converted, pixels).note == "simplified"
    assert not (tmp_path / "executed").exists()
