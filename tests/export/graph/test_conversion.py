"""From the deploy graph to ONNX, and what may go wrong in simplifying it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.export.graph.conftest import SIZE

from ctonnx.artifacts.onnx_file.operators import OPSET
from ctonnx_export.graph.conversion import convert
from ctonnx_export.graph.deploy_graph import DeployGraph


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


def test_novelty_is_computed_by_no_sum_that_openvino_divides_wrongly(model: Path) -> None:
    """OpenVINO 2025.4 and 2026.4 divide each row of a ReduceSum over the last dimension by the wrong divisor.

    With `--provider openvino` or OpenVINO's own API, the novelty of most images in a batch was 0 then, or another one.
    """
    nodes = {output: node for node in onnx.load(model).graph.node for output in node.output}
    minimum = nodes["novelty"]
    quotient = nodes[minimum.input[0]]
    product = nodes[quotient.input[0]]
    assert [node.op_type for node in (minimum, quotient, product)] == ["ReduceMin", "Div", "MatMul"]
    assert "ReduceSum" not in {node.op_type for node in nodes.values()}


def test_model_carries_no_trace_of_the_machine(converted: onnx.ModelProto) -> None:
    raw = converted.SerializeToString()
    assert b"site-packages" not in raw
    assert b'File "' not in raw


@pytest.mark.parametrize("swallow", [True, False])
def test_interrupt_that_the_tracing_catches_still_interrupts(
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


@pytest.fixture(autouse=True)
def _no_output(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The exporter's account of its own steps stays off the terminal."""
    yield
    assert capsys.readouterr().out == ""
