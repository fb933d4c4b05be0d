"""The temperature in a graph, in each form that exporters and simplifiers give it."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.train.grey_models import make_graph, outputs_of, softmax_of, tail_of

from ctonnx.errors import ModelError
from ctonnx_train.recalibration.temperature import network_sha256, replace_temperature

TAILS = {
    "none, as the temperature was 1": tail_of(1),
    "a division": tail_of(1.37),
    "a product": (
        [helper.make_node("Mul", ["logits", "t"], ["scaled"]), softmax_of("scaled")],
        {"t": np.array([0.5], np.float32)},
    ),
    "a constant node": (
        [
            helper.make_node("Constant", [], ["t"], value_float=2.0),
            helper.make_node("Div", ["logits", "t"], ["scaled"]),
            softmax_of("scaled"),
        ],
        {},
    ),
    "casts to FP16 and back": (
        [
            helper.make_node("Cast", ["logits"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Div", ["half", "t"], ["scaled"]),
            helper.make_node("Softmax", ["scaled"], ["chances"], axis=1),
            helper.make_node("Cast", ["chances"], ["probabilities"], to=TensorProto.FLOAT),
        ],
        {"t": np.array(2, np.float16)},
    ),
    "a weight that the network uses, too": ([helper.make_node("Div", ["logits", "scale"], ["s"]), softmax_of("s")], {}),
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_probabilities_are_those_of_the_new_temperature_and_the_network_stays(tail: tuple[Any, ...]) -> None:
    before = make_graph(*tail)
    whole = before.SerializeToString()
    after = replace_temperature(before, 2.5)
    assert before.SerializeToString() == whole
    assert network_sha256(after) == network_sha256(before) == network_sha256(make_graph(*tail_of(1)))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    session = pytest.importorskip("onnxruntime").InferenceSession(after.SerializeToString())
    probabilities, logits = session.run(["probabilities", "logits"], {"pixels": pixels})
    expected = outputs_of(pixels, 2.5)
    np.testing.assert_allclose(logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-6)
    assert "t" not in {weight.name for weight in after.graph.initializer}


def test_it_can_be_replaced_again() -> None:
    once = replace_temperature(make_graph(*tail_of(1)), 2.5)
    twice = replace_temperature(once, 0.8)
    assert twice.SerializeToString() == replace_temperature(make_graph(*tail_of(1)), 0.8).SerializeToString()


def test_hash_changes_with_a_weight_or_a_node_of_the_network() -> None:
    model = make_graph(*tail_of(2))
    changed, rewired = onnx.ModelProto(), onnx.ModelProto()
    changed.CopyFrom(model)
    rewired.CopyFrom(model)
    (bias,) = (weight for weight in changed.graph.initializer if weight.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([-2.7, 0, -2.7000003], np.float32), "head.bias"))
    rewired.graph.node[0].attribute[0].ints[:] = [0, 3, 2, 1]
    assert len({network_sha256(each) for each in (model, changed, rewired)}) == 3


def test_other_nodes_before_the_probabilities_are_rejected() -> None:
    tail = [helper.make_node("Relu", ["logits"], ["r"]), softmax_of("r")]
    with pytest.raises(ModelError) as caught:
        replace_temperature(make_graph(tail), 2)
    assert str(caught.value) == (
        "expected a division and a softmax between the outputs 'logits' and 'probabilities', found Relu, Softmax; "
        "export the model again"
    )


def test_model_without_logits_is_rejected() -> None:
    model = make_graph(*tail_of(1))
    for node in model.graph.node:
        node.input[:] = ["scores" if name == "logits" else name for name in node.input]
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    with pytest.raises(ModelError, match=r"^expected a model with the output 'logits', found none; export the model"):
        network_sha256(model)
