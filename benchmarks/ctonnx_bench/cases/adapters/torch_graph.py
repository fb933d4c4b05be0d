"""PyTorch in half precision, replayed as a CUDA graph: one for each batch size, captured at its first run."""

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.adapters.adapter import Network, Opening
from ctonnx_bench.cases.adapters.torch_network import load_network

__all__ = ["open_network"]

_WARM_UP = 3  # runs before the capture: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs


def open_network(opening: Opening) -> Network:
    """Opens a run's checkpoint; a graph reads and writes fixed addresses, so a batch is copied to its input."""
    import torch

    network = load_network(opening, half=True)
    captured: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor, tuple[torch.Tensor, ...]]] = {}

    def capture(pixels: torch.Tensor) -> None:
        given, aside = pixels.clone(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                network(given)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = network(given)
        captured[len(pixels)] = graph, given, outputs

    @torch.inference_mode()
    def run(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if len(pixels) not in captured:
            capture(pixels)
        graph, given, outputs = captured[len(pixels)]
        given.copy_(pixels)
        graph.replay()
        torch.cuda.synchronize()
        return outputs

    def fetch(outputs: tuple[torch.Tensor, ...]) -> Outputs:
        return Outputs(*(output.float().cpu().numpy() for output in outputs))

    def stage(pixels: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(pixels).to(opening.provider)

    return Network(run, stage, fetch) if opening.bound else Network(lambda pixels: fetch(run(stage(pixels))))
