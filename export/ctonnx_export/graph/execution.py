"""Outputs of a model for batches of pixels, from PyTorch or onnxruntime."""

from collections.abc import Iterable

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from ctonnx.parity.outputs import Outputs, output_names
from ctonnx_export.graph.sessions import open_model

__all__ = ["run_onnx", "run_pytorch"]


def run_onnx(model: onnx.ModelProto, batches: Iterable[NDArray[np.uint8]]) -> Outputs:
    """Returns onnxruntime's outputs on the CPU for batches of pixels, uint8 [images, size, size, 3] each."""
    session = open_model(model)
    names = output_names([item.name for item in session.get_outputs()])
    return Outputs.concatenate([Outputs(*session.run(names, {"pixels": pixels})) for pixels in batches])


def run_pytorch(graph: nn.Module, batches: Iterable[NDArray[np.uint8]]) -> Outputs:
    """Returns PyTorch's outputs, the reference of the parity gate, for batches as those of `run_onnx`."""
    with torch.inference_mode():
        results = [graph(torch.from_numpy(pixels)) for pixels in batches]
    return Outputs.concatenate([Outputs(*(output.numpy() for output in outputs)) for outputs in results])
