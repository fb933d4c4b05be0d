"""Fixtures of the export's tests: a small ONNX model with pictures, and a small network.

The small network has a run and an export in every precision, made once for all processes of these tests.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.conftest import empty_plots, once
from tests.export.builders import image_set

from ctonnx.artifacts.report_schema import Precision
from ctonnx.artifacts.run import Run
from ctonnx.images import Preprocessing
from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx_export import models
from ctonnx_export.export import ExportResult, export_run
from ctonnx_export.graph.conversion import convert
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.simplification import Simplified
from ctonnx_export.quantization.calibration import CALIBRATORS
from ctonnx_export.quantization.settings import Quantization
from ctonnx_export.trial import ComparisonSet
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.train import train

ALL: tuple[Precision, ...] = ("fp32", "fp16", "int8")
LOOSE = Gate(max_dp=1.0, min_agreement=0.0)
"""A gate that a network of two epochs passes."""

SIZE = 32
CLASSES = 3
FOLDS = 3


def make_small_model(*, seed: int = 0, scale: float = 1.0) -> onnx.ModelProto:
    """Returns a model whose outputs do not depend on `scale`.

    Args:
        seed: Random seed of the weights.
        scale: Factor of the maps between the first block's two convolutions.
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


def make_small_ensemble() -> onnx.ModelProto:
    """Returns two small models of different weights as one, with the mean of their outputs.

    Names of nodes and weights end with the model's number, `.0` or `.1`; both read the same normalized pixels.
    """
    stem = ["planes", "numbers", "centered", "normalized"]
    shared = {"pixels", "mean", "std", *stem}
    members = [make_small_model(seed=seed) for seed in (0, 1)]
    nodes = list(members[0].graph.node[: len(stem)])
    weights = [weight for weight in members[0].graph.initializer if weight.name in shared]
    for number, member in enumerate(members):
        for node in member.graph.node[len(stem) :]:
            node.name = f"{node.name}.{number}"
            node.input[:] = [name if name in shared else f"{name}.{number}" for name in node.input]
            node.output[:] = [f"{name}.{number}" for name in node.output]
            nodes.append(node)
        for weight in member.graph.initializer:
            if weight.name not in shared:
                weight.name = f"{weight.name}.{number}"
                weights.append(weight)
    for source, target in (("probabilities", "mean.probabilities"), ("heatmap", "heatmap")):
        nodes.append(helper.make_node("Mean", [f"{source}.0", f"{source}.1"], [target], name=f"node_{target}"))
    nodes.append(helper.make_node("Log", ["mean.probabilities"], ["logits"], name="node_logits"))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], name="node_probabilities", axis=1))
    graph = helper.make_graph(nodes, "ctonnx", members[0].graph.input, members[0].graph.output, weights)
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
def compared(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> ComparisonSet:
    """The pictures with the small model's outputs, in two parts of 6 and 18."""
    reference = run_onnx(small_model, [scans])
    labels = reference.probabilities.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3  # the reference is wrong on one image
    return ComparisonSet(
        parts=(image_set(scans[:6], labels[:6]), image_set(scans[6:], labels[6:])), reference=reference
    )


@pytest.fixture(scope="module")
def small_network() -> Iterator[None]:
    """Replaces ResNet50's stages by four blocks, and skips the simplification."""
    from torchvision.models.resnet import BasicBlock, ResNet

    def resnet(weights: None, **settings: Any) -> Any:
        return ResNet(BasicBlock, [1, 1, 1, 1], **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctonnx_train.network.classifier.resnet50", resnet)
        patch.setattr("ctonnx_export.models.simplify", lambda model, pixels: Simplified(model, "left out"))
        yield


@pytest.fixture(scope="module")
def small_run(small_network: None, phantoms: Path, shared_folder: Path) -> Run:
    """A run of the small network, of two epochs. Tests that change it work on a copy."""
    settings = TrainSettings(weights="none", epochs=2, batch_size=4, precision="fp32")
    root = shared_folder / "small/runs"
    with once(shared_folder, "small run") as missing:
        if missing:
            with empty_plots():
                train(phantoms, settings=settings, preprocessing=Preprocessing(size=64), name="small", root=root)
    return Run(root / "small")


@pytest.fixture(scope="module")
def small_export(small_run: Run, shared_folder: Path) -> ExportResult:
    """The small run's export in all precisions, made with loose gates. Tests that change it work on a copy."""
    file = shared_folder / "small/export.pickle"
    with once(shared_folder, "small export") as missing:
        if missing:
            with two_threads(), pytest.MonkeyPatch.context() as patch:
                for precision in ("fp16", "int8"):
                    patch.setitem(GATES, precision, LOOSE)
                result = export_run(
                    small_run,
                    precisions=ALL,
                    quantization=Quantization(samples=8),
                    output=shared_folder / "small/export",
                )
            file.write_bytes(pickle.dumps(result))
    result = pickle.loads(file.read_bytes())  # noqa: S301 - these tests made it
    assert isinstance(result, ExportResult)
    return result


@pytest.fixture(scope="module")
def folds_run(small_network: None, phantoms: Path, shared_folder: Path) -> Run:
    """A run of the small network in folds. Tests that change it work on a copy."""
    settings = TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32", folds=FOLDS)
    root = shared_folder / "folds/runs"
    with once(shared_folder, "run in folds") as missing:
        if missing:
            with empty_plots():
                train(phantoms, settings=settings, preprocessing=Preprocessing(size=64), name="folds", root=root)
    return Run(root / "folds")


@pytest.fixture
def converted_once(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts the small run's network once for all tests that export it: it takes most of their time."""
    file = shared_folder / "small/converted.onnx"

    def converted(graph: Any, size: int) -> onnx.ModelProto:
        with once(shared_folder, "small conversion") as missing:
            if missing:
                onnx.save(convert(graph, size), file)
        return onnx.load(file)

    monkeypatch.setattr(models, "convert", converted)


@contextmanager
def two_threads() -> Iterator[None]:
    """Sets two threads for PyTorch, which must not change a byte from one export to the next."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the search to one calibrator and one layer; test_search.py tests all of it."""
    monkeypatch.setattr("ctonnx_export.quantization.search.scheme_search.CALIBRATORS", CALIBRATORS[:1])
    monkeypatch.setattr("ctonnx_export.quantization.search.scheme_search._MOST_EXCLUDED", 1)


def names(folder: Path) -> list[str]:
    """Returns the names of the folder's files, sorted."""
    return sorted(path.name for path in folder.iterdir())
