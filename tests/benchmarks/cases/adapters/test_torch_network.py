"""PyTorch eager computes the outputs that the export was compared with."""

from pathlib import Path

import numpy as np
import torch

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.run import Run
from ctonnx_bench.cases.adapters.adapter import Opening
from ctonnx_bench.cases.adapters.torch_network import open_network


def test_outputs_are_the_golden_outputs(exported_run: Run) -> None:
    golden = load_golden(exported_run.export_folder / "golden.npz")
    found = open_network(Opening(model=exported_run.folder, provider="cpu", threads=1)).predict(golden.pixels)
    np.testing.assert_allclose(found.probabilities, golden.outputs.probabilities, atol=1e-5)
    np.testing.assert_allclose(found.heatmap, golden.outputs.heatmap, atol=1e-4)


def test_outputs_of_staged_inputs_are_the_same(exported_run: Run) -> None:
    pixels = load_golden(exported_run.export_folder / "golden.npz").pixels[:2]
    host, staged = (
        open_network(Opening(model=exported_run.folder, provider="cpu", threads=1, bound=bound))
        for bound in (False, True)
    )
    assert isinstance(staged.stage(pixels), torch.Tensor)
    np.testing.assert_array_equal(staged.predict(pixels).logits, host.run(pixels).logits)


def test_adapters_are_short() -> None:
    """A peer is what a good engineer would write, and can be read at a glance."""
    folder = Path(__file__).parents[4] / "benchmarks/ctonnx_bench/cases/adapters"
    lines = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in folder.glob("*.py")}
    assert {name: count for name, count in lines.items() if count > 60 and name != "adapter.py"} == {}
