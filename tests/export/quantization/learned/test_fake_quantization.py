"""A QDQ graph as a PyTorch module: the outputs of onnxruntime, gradients, and the graph that is made from it."""

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tests.export.conftest import make_small_ensemble

from ctonnx.artifacts.report_schema import TARGETS, Target
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.sessions import open_model
from ctonnx_export.quantization.calibration import collect_ranges
from ctonnx_export.quantization.learned.fake_quantization import FakeQuantized, nodes_before
from ctonnx_export.quantization.qdq import Scheme, quantize, quantized_tensors

OUTPUTS = ["probabilities"]


def quantized(model: onnx.ModelProto, scans: NDArray[np.uint8], **scheme: object) -> onnx.ModelProto:
    ranges = collect_ranges(model, quantized_tensors(model), [scans])
    return quantize(model, ranges, Scheme(**{"calibrator": "percentile-99.9", **scheme}))  # type: ignore[arg-type]


def changed(network: FakeQuantized) -> FakeQuantized:
    """Changes all values and scales, so that no ratio of scales is a simple number."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.values.parameters():
            parameter.mul_(1 + 0.2 * torch.rand(parameter.shape, generator=random))
        for parameter in network.scales.parameters():
            parameter.add_(0.3 * torch.rand(parameter.shape, generator=random))
    return network


def probabilities(network: FakeQuantized, scans: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.no_grad():
        found: NDArray[np.float32] = network(torch.from_numpy(scans))[0].numpy()
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "scheme", [{}, {"integer_adds": False}, {"excluded": ("node_a2",)}], ids=["integer adds", "float adds", "excluded"]
)
def test_outputs_are_those_of_onnxruntime(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8], target: Target, scheme: dict[str, object]
) -> None:
    network = changed(FakeQuantized(quantized(small_model, scans, target=target, **scheme), small_model, OUTPUTS))
    expected = run_onnx(network.as_onnx(), [scans])
    rounding = np.abs(run_onnx(small_model, [scans]).probabilities - expected.probabilities).max()
    assert rounding > 1e-3
    assert np.abs(probabilities(network, scans) - expected.probabilities).max() < (
        2e-3 if target == "tensorrt" else 1e-6
    )


def test_integers_are_those_of_onnxruntime_everywhere(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    """Each rounding gives the same integers, as one that differs would change all that follow."""
    network = changed(FakeQuantized(quantized(small_model, scans), small_model, OUTPUTS))
    model = network.as_onnx()
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    zeros = {weight.name: int(numpy_helper.to_array(weight)) for weight in model.graph.initializer if not weight.dims}
    names = [node.output[0] for node in nodes]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    with torch.no_grad():
        found = network.compute(torch.from_numpy(scans), names)
    for node, ours, theirs in zip(nodes, found, open_model(model).run(names, {"pixels": scans}), strict=True):
        assert (ours.numpy() != theirs.astype(np.float32) - zeros[node.input[2]]).sum() == 0, node.name


@pytest.mark.parametrize("target", TARGETS)
def test_an_unchanged_module_gives_the_graph_back(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8], target: Target
) -> None:
    model = quantized(small_model, scans, target=target)
    back = FakeQuantized(model, small_model, OUTPUTS).as_onnx()
    onnx.checker.check_model(back, full_check=True)
    assert [node.SerializeToString() for node in back.graph.node] == [
        node.SerializeToString() for node in model.graph.node
    ]
    for before, after in zip(model.graph.initializer, back.graph.initializer, strict=True):
        one, other = numpy_helper.to_array(before), numpy_helper.to_array(after)
        assert (before.name, one.dtype, one.shape) == (after.name, other.dtype, other.shape)
        if one.dtype.kind == "f":
            np.testing.assert_allclose(other, one, rtol=1e-6 if "bias" in before.name else 0)
        else:
            assert np.abs(one.astype(int) - other.astype(int)).max() <= (1 if "bias" in before.name else 0)


def test_weights_whose_original_has_another_name_are_those_of_the_graph(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8]
) -> None:
    model = quantized(small_model, scans, target="amx")
    nameless = onnx.ModelProto()
    nameless.CopyFrom(small_model)
    for weight in nameless.graph.initializer:
        weight.name = f"other.{weight.name}"
    back = FakeQuantized(model, nameless, OUTPUTS).as_onnx()
    found, expected = (run_onnx(of, [scans]).probabilities for of in (back, model))
    assert np.abs(found - expected).max() < 1e-6


def test_every_value_and_scale_has_a_gradient(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    network = FakeQuantized(quantized(small_model, scans), small_model, OUTPUTS)
    network(torch.from_numpy(scans))[0].log().square().sum().backward()
    assert len(network.values) == 2 * 6
    assert len(network.scales) > 6
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_networks_of_an_ensemble_are_computed_together(scans: NDArray[np.uint8]) -> None:
    ensemble = make_small_ensemble()
    model = quantized(ensemble, scans)
    found = probabilities(FakeQuantized(model, ensemble, OUTPUTS), scans)
    assert np.abs(found - run_onnx(model, [scans]).probabilities).max() < 1e-5


def test_an_unknown_operator_is_rejected(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    model = quantized(small_model, scans)
    node = next(node for node in model.graph.node if node.op_type == "Gemm")
    model.graph.node.append(helper.make_node("Erf", [node.output[0]], ["other"]))
    with pytest.raises(ValueError, match="found Erf"):
        FakeQuantized(model, small_model, ["other"])


def test_only_nodes_that_the_tensors_depend_on_are_computed(small_model: onnx.ModelProto) -> None:
    names = [node.op_type for node in nodes_before(small_model, ["logits"])]
    assert names[-1] == "Gemm"
    assert "Softmax" not in names
    assert "MatMul" not in names
