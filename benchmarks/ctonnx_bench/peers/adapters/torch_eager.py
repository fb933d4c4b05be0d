"""PyTorch eager on a run's checkpoint: no gradients, full float32, the outputs that the exported model has."""

import numpy as np
from numpy.typing import NDArray

from ctonnx.outputs import Outputs
from ctonnx_bench.peers.adapters import Network, Opening

__all__ = ["open_network"]


def open_network(opening: Opening, *, compiled: bool = False) -> Network:
    """Opens a run's checkpoint.

    Args:
        opening: its model is the run's folder.
        compiled: whether `torch.compile` makes code of it, at the first answer.
    """
    import torch

    from ctonnx.runs import Run
    from ctonnx_export.graph import DeployGraph
    from ctonnx_train.checkpoint import load_checkpoint

    torch.set_num_threads(opening.threads)
    torch.backends.cudnn.allow_tf32 = False  # which on recent GPUs is not float32
    device = torch.device(opening.provider)
    checkpoint = load_checkpoint(Run(opening.model))
    graph: torch.nn.Module = DeployGraph(checkpoint.network, checkpoint.record.temperature).eval().to(device)
    # The pixels' channels come last, and so do the activations': weights in the other layout would be turned each time.
    graph = graph.to(memory_format=torch.channels_last)
    network = torch.compile(graph) if compiled else graph

    @torch.inference_mode()
    def run(pixels: NDArray[np.uint8]) -> Outputs:
        answers = network(torch.from_numpy(pixels).to(device))
        return Outputs(*(answer.cpu().numpy() for answer in answers))

    return Network(run)
