"""torch.compile compiles the network that PyTorch eager runs."""

import numpy as np
import pytest
import torch

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.run import Run
from ctonnx_bench.cases.adapters import torch_network
from ctonnx_bench.cases.adapters.adapter import Opening


def test_network_is_compiled(exported_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []

    def note(graph: torch.nn.Module) -> torch.nn.Module:
        compiled.append(graph)  # compiling takes a minute
        return graph

    monkeypatch.setattr(torch, "compile", note)
    golden = load_golden(exported_run.export_folder / "golden.npz")
    network = torch_network.open_network(Opening(model=exported_run.folder, provider="cpu", threads=1), compiled=True)
    assert [type(graph).__name__ for graph in compiled] == ["DeployGraph"]
    found = network.predict(golden.pixels[:1])
    np.testing.assert_allclose(found.probabilities, golden.outputs.probabilities[:1], atol=1e-5)
