"""`torch.compile` with its defaults on a run's checkpoint; its first run includes compiling."""

from ctonnx_bench.cases.adapters.adapter import Network, Opening
from ctonnx_bench.cases.adapters.torch_eager import open_network as open_eager

__all__ = ["open_network"]


def open_network(opening: Opening) -> Network:
    """Opens a run's checkpoint."""
    return open_eager(opening, compiled=True)
