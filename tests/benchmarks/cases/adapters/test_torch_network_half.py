"""PyTorch in half precision passes the gate of FP16."""

import numpy as np

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.run import Run
from ctonnx.parity.acceptance_gates import DEVICE_GATES
from ctonnx.parity.comparison import compare
from ctonnx_bench.cases.adapters.adapter import Opening
from ctonnx_bench.cases.adapters.torch_network import open_network


def test_outputs_are_the_golden_outputs_in_half_precision(exported_run: Run) -> None:
    golden = load_golden(exported_run.export_folder / "golden.npz")
    pixels, expected = golden.pixels[:4], golden.outputs[:4]
    found = open_network(Opening(model=exported_run.folder, provider="cpu", threads=1), half=True).predict(pixels)
    assert found.logits.dtype == np.float32
    parity = compare(expected, found)
    assert 0 < parity.max_dp <= DEVICE_GATES["fp16"].max_dp
    assert parity.heatmap_correlation > 0.98  # over the four places of this hardly trained network's heatmap
