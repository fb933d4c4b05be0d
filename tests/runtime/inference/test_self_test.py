"""The self-test runs a real model on a provider and finds wrong outputs."""

import base64
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ctonnx.errors import ProviderError
from ctonnx.inference import self_test
from ctonnx.inference.runner import Runner
from ctonnx.inference.self_test import _KERNEL, _MODEL, _TOLERANCE, ProviderCheck, check_provider
from ctonnx.inference.session import open_session
from ctonnx.parity.outputs import Outputs
from ctonnx.system.cpu import available_cores


@pytest.fixture
def openvino_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes OpenVINO available; its sessions run on the CPU."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(self_test, "open_session", lambda model, provider: open_session(model))


def change_outputs(monkeypatch: pytest.MonkeyPatch, change: Callable[[Outputs], Outputs]) -> None:
    class Changed(Runner):
        def __call__(self, images: Any) -> Outputs:
            return change(super().__call__(images))

    monkeypatch.setattr(self_test, "Runner", Changed)


def test_model_is_the_one_that_its_comment_describes() -> None:
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["convolved"], ["heatmap"]),
        helper.make_node("ReduceMean", ["heatmap"], ["logits"], axes=[2, 3], keepdims=0),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "doctor",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["batch", 2, 8, 8]),
        ],
        [helper.make_tensor("kernel", TensorProto.FLOAT, [2, 3, 3, 3], _KERNEL)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    # The bytes of the model are compared, as those of deflate depend on zlib's release. To make the text again:
    # base64.b85encode(zlib.compress(made.SerializeToString(deterministic=True), 9)).
    assert zlib.decompress(base64.b85decode(_MODEL)) == made.SerializeToString(deterministic=True)


def test_provider_that_agrees_with_numpy_works() -> None:
    check = check_provider("cpu")
    assert check.difference is not None
    assert 0 <= check.difference <= _TOLERANCE
    assert check == ProviderCheck(name="cpu", state="works", difference=check.difference, threads=available_cores())
    assert set(check.as_dict()) == {"name", "state", "message", "difference", "threads"}


@pytest.mark.usefixtures("openvino_on_the_cpu")
@pytest.mark.parametrize(
    ("value", "state"), [(1e6, "fails"), (float("nan"), "fails"), (None, "works")], ids=["wrong", "nan", "right"]
)
def test_provider_with_other_outputs_than_numpy_fails(
    value: float | None, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(outputs: Outputs) -> Outputs:
        if value is not None:
            outputs.heatmap[0, 0, 0, 0] = value
        return outputs

    change_outputs(monkeypatch, change)
    check = check_provider("openvino")
    assert check.state == state
    if state == "fails":
        assert str(check.message).startswith("its outputs differ from NumPy's by ")
        assert check.difference is not None
        assert np.isnan(check.difference) == (value is not None and np.isnan(value))


@pytest.mark.usefixtures("openvino_on_the_cpu")
def test_error_of_a_provider_is_reported_without_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(outputs: Outputs) -> Outputs:
        raise ProviderError(f"the provider 'openvino' does not run here: {Path.home()}/lib/libtbb.so is missing")

    change_outputs(monkeypatch, fail)
    assert check_provider("openvino").as_dict() == {
        "name": "openvino",
        "state": "fails",
        "message": "the provider 'openvino' does not run here: libtbb.so is missing",
        "difference": None,
    }
