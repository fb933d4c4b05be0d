"""A CUDA graph of each batch size is captured once and replayed on copied pixels; tested with a fake capture."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.network.test_novelty import HostTensors

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.run import Run
from ctonnx_bench.cases.adapters import torch_graph, torch_network
from ctonnx_bench.cases.adapters.adapter import Opening

Tensors = tuple[torch.Tensor, ...]


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fakes the capture: a replay runs the network again and writes into the outputs of the capture.

    As CUDA does, it allows no copy from the CPU: on the device `meta`, the captured network must not read a CPU tensor.
    """
    sizes: list[int] = []
    inside: list[Any] = []
    load = torch_network.load_network

    def loaded(opening: Opening, *, half: bool) -> Any:
        network = load(opening, half=half)

        def call(pixels: torch.Tensor) -> Tensors:
            outputs: Tensors = network(pixels)
            if inside:
                elsewhere, its_pixels = copy.deepcopy(network).to("meta"), pixels.to("meta")
                with HostTensors() as host:
                    elsewhere(its_pixels)
                assert host.found == []
                inside[-1].again = lambda: [old.copy_(new) for old, new in zip(outputs, network(pixels), strict=True)]
                sizes.append(len(pixels))
            return outputs

        return call

    class Graph:
        again: Any = None

        def replay(self) -> None:
            self.again()

    @contextmanager
    def capturing(graph: Graph) -> Iterator[None]:
        inside.append(graph)
        yield
        inside.pop()

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch_graph, "load_network", loaded)
    for name, fake in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda other: nullcontext(),
        "CUDAGraph": Graph,
        "graph": capturing,
        "synchronize": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return sizes


@pytest.mark.parametrize("bound", [False, True])
def test_each_batch_size_is_captured_once_and_every_batch_is_computed(
    captures: list[int], exported_run: Run, bound: bool
) -> None:
    golden = load_golden(exported_run.export_folder / "golden.npz")
    network = torch_graph.open_network(Opening(model=exported_run.folder, provider="cpu", threads=1, bound=bound))
    for rows in (slice(0, 2), slice(2, 4), slice(4, 5)):
        found = network.predict(golden.pixels[rows])
        np.testing.assert_allclose(found.probabilities, golden.outputs.probabilities[rows], atol=2e-2)
    assert captures == [2, 1]
