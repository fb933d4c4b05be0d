"""What the export's tests share: a small ONNX model made in milliseconds, pictures for it, and a small network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ctonnx_export.conversion import Simplified

SIZE = 32
CLASSES = 3


def make_small_model(*, seed: int = 0, scale: float = 1.0) -> onnx.ModelProto:
    """Returns a model whose first block's inner maps are `scale` times as large, and whose answers are not changed.

    Args:
        seed: of the weights.
        scale: of the maps between the first block's two convolutions.
    """
    random = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {
        "mean": np.full((1, 3, 1, 1), 120, np.float32),
        "std": np.full((1, 3, 1, 1), 60, np.float32),
        "axes": np.array([2, 3], np.int64),
        "flat": np.array([0, 16, -1], np.int64),
        "square": np.array([0, CLASSES, 4, 4], np.int64),
        "head.weight": random.normal(0, 0.4, (CLASSES, 16)).astype(np.float32),
        "head.bias": random.normal(0, 0.1, CLASSES).astype(np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["numbers", "mean"], ["centered"]),
        helper.make_node("Div", ["centered", "std"], ["normalized"]),
    ]

    def conv(source: str, target: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        spread = (2 / (inputs * kernel**2)) ** 0.5
        weights[f"{target}.weight"] = random.normal(0, spread, (outputs, inputs, kernel, kernel)).astype(np.float32)
        weights[f"{target}.bias"] = random.normal(0, 0.1, outputs).astype(np.float32)
        names = [source, f"{target}.weight", f"{target}.bias"]
        pads = [kernel // 2] * 4
        nodes.append(
            helper.make_node("Conv", names, [target], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
        )

    def relu(source: str, target: str) -> None:
        nodes.append(helper.make_node("Relu", [source], [target]))

    conv("normalized", "stem", 3, 16, 3, 2)
    relu("stem", "stem.relu")
    window, step, margin = [3, 3], [2, 2], [1, 1, 1, 1]
    nodes.append(helper.make_node("MaxPool", ["stem.relu"], ["pooled"], kernel_shape=window, strides=step, pads=margin))
    source = "pooled"
    for block in ("a", "b"):
        conv(source, f"{block}1", 16, 16, 3, 2 if block == "a" else 1)
        relu(f"{block}1", f"{block}1.relu")
        conv(f"{block}1.relu", f"{block}2", 16, 16, 3)
        if block == "a":
            conv(source, "a.shortcut", 16, 16, 1, 2)
        nodes.append(helper.make_node("Add", [f"{block}2", "a.shortcut" if block == "a" else source], [f"{block}.sum"]))
        relu(f"{block}.sum", f"{block}.out")
        source = f"{block}.out"
    weights["a1.weight"] *= scale
    weights["a1.bias"] *= scale
    weights["a2.weight"] /= scale
    nodes += [
        helper.make_node("ReduceMean", [source, "axes"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("Reshape", [source, "flat"], ["columns"]),
        helper.make_node("MatMul", ["head.weight", "columns"], ["weighted"]),
        helper.make_node("Relu", ["weighted"], ["map"]),
        helper.make_node("Reshape", ["map", "square"], ["heatmap"]),
    ]
    for node in nodes:
        node.name = f"node_{node.output[0]}"
    shape: list[str | int] = ["batch", CLASSES]
    graph = helper.make_graph(
        nodes,
        "ctonnx",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [*shape, 4, 4]),
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model)


def optimized(model: onnx.ModelProto, folder: Path, **options: str) -> onnx.ModelProto:
    """Returns the graph that onnxruntime runs."""
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(folder / "optimized.onnx")
    settings.log_severity_level = 4
    for name, value in options.items():
        settings.add_session_config_entry(f"session.{name}", value)
    onnxruntime.InferenceSession(model.SerializeToString(), settings, ["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx")


@pytest.fixture(scope="session")
def small_model() -> onnx.ModelProto:
    return make_small_model()


@pytest.fixture(scope="session")
def scans() -> NDArray[np.uint8]:
    """Smooth random pictures, uint8 [24, 32, 32, 3]."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (24, 8, 8, 1), np.uint8)
    return np.repeat(np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2), 3, axis=3)


@pytest.fixture(scope="module")
def small_network() -> Iterator[None]:
    """Gives the network four blocks instead of ResNet50's stages, and leaves the simplifier out."""
    from torchvision.models.resnet import BasicBlock, ResNet

    def resnet(weights: None, **settings: Any) -> Any:
        return ResNet(BasicBlock, [1, 1, 1, 1], **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctonnx_train.network.resnet50", resnet)
        patch.setattr("ctonnx_export.making.simplify", lambda model, pixels: Simplified(model, "left out"))
        yield
