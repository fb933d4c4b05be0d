"""PyTorch and onnxruntime give the same outputs for batches of any size."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from ctonnx.parity.comparison import compare
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_export.graph.execution import run_onnx, run_pytorch


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_onnxruntime_agrees_with_pytorch_at_every_batch_size(
    graph: DeployGraph, converted: onnx.ModelProto, pixels: NDArray[np.uint8], batch: int
) -> None:
    parity = compare(run_pytorch(graph, [pixels[:batch]]), run_onnx(converted, [pixels[:batch]]))
    assert parity.max_dp <= 1e-5
    assert parity.max_dheatmap <= 1e-4
