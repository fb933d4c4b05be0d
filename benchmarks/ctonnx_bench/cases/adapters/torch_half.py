"""PyTorch eager in half precision on a run's checkpoint, the peer of ctonnx's FP16 on a GPU."""

from ctonnx_bench.cases.adapters.adapter import Network, Opening
from ctonnx_bench.cases.adapters.torch_eager import open_network as open_eager

__all__ = ["open_network"]


def open_network(opening: Opening) -> Network:
    """Opens a run's checkpoint."""
    return open_eager(opening, half=True)
