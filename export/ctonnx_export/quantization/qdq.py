"""INT8 models in QDQ format: FP32 models with quantize and dequantize nodes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorData, TensorsData
from onnxruntime.transformers.onnx_model import OnnxModel

from ctonnx.artifacts.report_schema import Target
from ctonnx_export.graph.backbone import OPERATORS, backbone
from ctonnx_export.quantization.amx import shift_weights_for_amx
from ctonnx_export.quantization.calibration import Calibrator, Ranges

__all__ = ["Scheme", "quantize", "quantized_tensors"]

_ACTIVATIONS = {"x86": "uint8", "amx": "uint8", "arm": "int8", "tensorrt": "int8, symmetric"}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Quantization scheme of a model.

    Weights are int8, symmetric, with a scale per output channel. Activations have one scale per tensor: uint8 on x86,
    whose instructions multiply unsigned by signed bytes; int8 on ARM; symmetric int8 for TensorRT. For TensorRT, both
    inputs of a residual add are quantized and outputs of convolutions are not, so that TensorRT can fuse the nodes
    after them. For AMX, the model is that of x86 with shifted weights (`shift_weights_for_amx`). The `excluded` nodes
    stay in float, and so do the residual adds without `integer_adds`.
    """

    target: Target = "x86"
    calibrator: Calibrator = "moving-average"
    integer_adds: bool = True
    excluded: tuple[str, ...] = ()

    @property
    def activations(self) -> str:
        """Type of the activations, in words."""
        return _ACTIVATIONS[self.target]

    @property
    def label(self) -> str:
        """Short description of the scheme."""
        adds = "integer" if self.integer_adds else "float"
        layers = f", {len(self.excluded)} of the convolutions in float" if self.excluded else ""
        return f"{self.calibrator}, {adds} adds{layers}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the scheme, JSON-ready."""
        return {
            "format": "QDQ",
            "target": self.target,
            "weights": "int8, symmetric, a scale for each output channel"
            + (", lowered by one where AMX multiplies them" if self.target == "amx" else ""),
            "activations": self.activations,
            "calibrator": self.calibrator,
            "residual_adds": "integer" if self.integer_adds else "float",
            "layers_in_float": list(self.excluded),
        }

    @property
    def symmetric(self) -> bool:
        """Whether the activation ranges are symmetric around zero."""
        return self.target == "tensorrt"


def quantized_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """Returns the names of the activations that any scheme quantizes, and whose ranges are therefore needed."""
    nodes = backbone(model)
    weights = {weight.name for weight in model.graph.initializer}
    before_relu = {node.input[0] for node in nodes if node.op_type == "Relu"}  # clipped by the Relu
    tensors = (name for node in nodes for name in (*node.input, *node.output))
    return tuple(dict.fromkeys(name for name in tensors if name not in weights and name not in before_relu))


def quantize(model: onnx.ModelProto, ranges: Ranges, scheme: Scheme) -> onnx.ModelProto:
    """Returns the INT8 model of an FP32 model with shapes inferred; the ranges are of its `quantized_tensors`."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    operators = ("Conv", "Add", "MaxPool") if scheme.target == "tensorrt" else OPERATORS
    chosen = [
        node.name
        for node in backbone(model)
        if node.op_type in operators
        and node.name not in scheme.excluded
        and (scheme.integer_adds or node.op_type != "Add")
    ]
    quantizer = QDQQuantizer(
        copied,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8 if scheme.activations == "uint8" else QuantType.QInt8,
        tensors_range=_tensors_data(model, ranges.of(scheme.calibrator), symmetric=scheme.symmetric),
        nodes_to_quantize=chosen,
        nodes_to_exclude=[],
        op_types_to_quantize=list(operators),
        extra_options={
            "ActivationSymmetric": scheme.symmetric,
            "WeightSymmetric": True,
            "OpTypesToExcludeOutputQuantization": ["Conv", "Add"] if scheme.target == "tensorrt" else [],
            "DedicatedQDQPair": scheme.target == "tensorrt",
            "QuantizeBias": scheme.target != "tensorrt",
        },
    )
    quantized: onnx.ModelProto = quantizer.quantize_model()
    _keep_in_float(quantized, model, scheme)
    if scheme.target == "amx":
        shift_weights_for_amx(quantized)
    return quantized


def _keep_in_float(quantized: onnx.ModelProto, model: onnx.ModelProto, scheme: Scheme) -> None:
    """Connects the nodes that stay in float to the original tensors instead of the dequantized ones.

    The quantizer connects all readers of a tensor to its dequantized copy. onnxruntime would compute a convolution
    between such tensors in integers in spite of that and quantize its weights; a residual add, too.
    """
    made_by = {name: node for node in quantized.graph.node for name in node.output}
    kinds = {name: node.op_type for node in model.graph.node for name in node.output}
    relus: dict[str, onnx.NodeProto] = {}

    def before(name: str) -> str | None:
        """Returns the name of the tensor before quantization, or None."""
        dequantize = made_by.get(name)
        quantize = made_by.get(dequantize.input[0]) if dequantize else None
        return str(quantize.input[0]) if quantize and quantize.op_type == "QuantizeLinear" else None

    for node in quantized.graph.node:
        is_float_add = node.op_type == "Add" and not scheme.integer_adds
        for position in range(2 if is_float_add else int(node.name in scheme.excluded)):
            source = before(node.input[position])
            if source is None or (is_float_add and kinds[source] == "Conv"):  # convolutions write integers
                continue
            node.input[position] = source
            if kinds[source] == "Relu" and made_by[source].op_type != "Relu":  # replaced by the zero point
                name = f"{source}.float"
                relus[name] = helper.make_node("Relu", [source], [name], name=f"node_{name}")
                node.input[position] = name
    quantized.graph.node.extend(relus.values())
    wrapped = OnnxModel(quantized)
    wrapped.prune_graph()
    wrapped.topological_sort()


def _tensors_data(model: onnx.ModelProto, ranges: dict[str, tuple[float, float]], *, symmetric: bool) -> TensorsData:
    """Returns ranges in the quantizer's format; tensors before a ReLU have the range of its output."""
    before_relu = {node.input[0]: ranges[node.output[0]] for node in backbone(model) if node.op_type == "Relu"}
    pairs = {**ranges, **before_relu}
    if symmetric:
        pairs = {name: (-max(-low, high), max(-low, high)) for name, (low, high) in pairs.items()}
    return TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
            for name, (low, high) in pairs.items()
        },
    )
