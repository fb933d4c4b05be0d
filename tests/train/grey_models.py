"""Exported models whose logits are known functions of an image's grey values, and scans for them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy.special import softmax

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.golden import FILE_NAME, Golden, save_golden
from ctonnx.artifacts.onnx_file.integrity import content_checksum
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
from ctonnx.parity.outputs import Outputs
from ctonnx.system.files import sha256_of

SIZE = 32
CLASSES = ("large cell", "normal", "tumor")
POINT = OperatingPoint(
    positive=("large cell", "tumor"),
    threshold=0.5,
    sensitivity=0.96,
    specificity=0.95,
    target_sensitivity=0.95,
    sensitivity_interval=(0.91, 0.99),
    specificity_interval=(0.9, 0.98),
)
SPEC = ModelSpec(
    name="grey",
    classes=CLASSES,
    preprocessing=Preprocessing(size=SIZE),
    precision="fp32",
    created="2026-01-02T03:04:05+00:00",
    checkpoint_sha256="ab" * 32,
    data={"name": "scans", "fingerprint": "cd"},
    synthetic=False,
    metrics={
        "test": {
            "images": 72,
            "accuracy": 0.7,
            "ece": 0.1,
            "macro": {"f1": 0.6, "auroc": 0.8},
            "per_class": {"normal": {"f1": 0.6, "auroc": 0.8}},
            "intervals": {"ece": [0.0, 0.2], "accuracy": [0.6, 0.8]},
            "suspicious": {"sensitivity": 0.9},
        }
    },
    parity={"images": 8, "max_dp": 1e-7},
    versions={"torch": "2.15.0"},
    operating_point=POINT,
)
# Grey values of the left and the right half, 0 to 1, to the logits: a bright half is a large cell tumour or a tumour.
_WEIGHTS = np.array([[0, 6], [0, 0], [6, 0]], np.float32)
_BIAS = np.array([-2.7, 0, -2.7], np.float32)
_CENTER = 0.4  # of the novelty: the squared distance of a half's grey value from it, in the mean over both


def make_graph(
    tail: list[onnx.NodeProto], weights: Mapping[str, NDArray[Any]] | None = None, *, novelty: bool = False
) -> onnx.ModelProto:
    """Returns a model of float32 logits and their heatmap; `tail` makes the probabilities of the logits."""
    arrays: dict[str, NDArray[Any]] = {
        "scale": np.array(255, np.float32),
        "axes": np.array([1, 2], np.int64),
        "flat": np.array([0, -1], np.int64),
        "map": np.array([0, 3, 1, 1], np.int64),
        "head.weight": np.repeat(_WEIGHTS, 3, axis=1).reshape(3, 6) / 3,
        "head.bias": _BIAS,
        **(weights or {}),
    }
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["numbers", "scale"], ["shares"]),
        helper.make_node("AveragePool", ["shares"], ["halves"], kernel_shape=[SIZE, SIZE // 2], strides=[1, SIZE // 2]),
        helper.make_node("Transpose", ["halves"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["turned", "flat"], ["features"]),
        helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], transB=1),
        *tail,
        helper.make_node("Relu", ["logits"], ["rectified"]),
        helper.make_node("Reshape", ["rectified", "map"], ["heatmap"]),
    ]
    if novelty:
        arrays |= {"center": np.array(_CENTER, np.float32), "second": np.array([1], np.int64)}
        nodes += [
            helper.make_node("Sub", ["features", "center"], ["away"]),
            helper.make_node("Mul", ["away", "away"], ["squares"]),
            helper.make_node("ReduceMean", ["squares", "second"], ["novelty"], keepdims=0),
        ]
    shape: list[str | int] = ["batch", 3]
    graph = helper.make_graph(
        nodes,
        "ctonnx",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [*shape, 1, 1]),
            *([helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["batch"])] if novelty else []),
        ],
        [numpy_helper.from_array(values, name) for name, values in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def softmax_of(source: str) -> onnx.NodeProto:
    return helper.make_node("Softmax", [source], ["probabilities"], axis=1)


def tail_of(temperature: float) -> tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]:
    """Returns the nodes and weights of a temperature as they are exported: none for a temperature of 1."""
    if temperature == 1:
        return [softmax_of("logits")], {}
    nodes = [helper.make_node("Div", ["logits", "t"], ["scaled"]), softmax_of("scaled")]
    return nodes, {"t": np.array(temperature, np.float32)}


def write_model(file: Path, *, temperature: float = 1.0, golden: bool = True, **changes: Any) -> Path:
    """Writes a model with its spec and, next to it, its golden inputs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    novelty = changes.get("novelty") is not None
    model = make_graph(*tail_of(temperature), novelty=novelty)
    spec = replace(SPEC, temperature=temperature, **changes)
    spec = replace(spec, content_checksum=content_checksum(model.SerializeToString()))
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, file)
    if golden:
        pixels = np.random.default_rng(9).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
        outputs = outputs_of(pixels, temperature, novelty=novelty)
        digests = {"fp32": sha256_of(file)}
        save_golden(file.parent / FILE_NAME, Golden(pixels, outputs, "ab" * 32, {"fp32": outputs}, digests))
    return file


def outputs_of(pixels: NDArray[np.uint8], temperature: float = 1.0, *, novelty: bool = False) -> Outputs:
    """Returns the outputs that a model has for pixels, uint8 [images, size, size, 3]."""
    halves = pixels.reshape(len(pixels), SIZE, 2, SIZE // 2, 3).mean(axis=(1, 3, 4)) / 255
    logits = (halves @ _WEIGHTS.T + _BIAS).astype(np.float32)
    probabilities = softmax(logits / np.float32(temperature), axis=1)
    distance = ((halves - _CENTER) ** 2).mean(axis=1).astype(np.float32) if novelty else None
    return Outputs(probabilities, logits, np.maximum(logits, 0)[:, :, None, None], distance)


def write_scans(
    root: Path, counts: Mapping[str, int], *, seed: int = 0, dimmed: float = 1.0, kinds: Mapping[str, str] | None = None
) -> Path:
    """Writes scans into class folders: a half that is bright for the class, with overlap; `dimmed` darkens them.

    `kinds` gives the model's class whose scans a folder gets; by default its own name.
    """
    rng = np.random.default_rng(seed)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        kind = (kinds or {}).get(folder, folder.rpartition("/")[2])
        for number in range(count):
            halves = rng.normal(70, 14, 2)
            if kind != "normal":
                halves[0 if kind == "tumor" else 1] = rng.normal(165, 22)
            grey = np.repeat(halves, SIZE // 2) + rng.normal(0, 6, (SIZE, SIZE))
            Image.fromarray(np.clip(grey * dimmed, 0, 255).astype(np.uint8)).save(root / folder / f"{number}.png")
    return root
