"""PyTorch on a run's checkpoint: no gradients, full float32 or half precision, the exported model's outputs."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.adapters.adapter import Network, Opening

if TYPE_CHECKING:
    import torch

__all__ = ["load_network", "open_network"]


def load_network(opening: Opening, *, half: bool = False) -> "torch.nn.Module":
    """Returns a run's network on the device; with `half`, its convolutions are float16, from the pixels on."""
    import torch

    from ctonnx.artifacts.run import Run
    from ctonnx_export.graph.deploy_graph import DeployGraph
    from ctonnx_train.runs.checkpoint import load_checkpoint

    torch.set_num_threads(opening.threads)
    torch.backends.cudnn.allow_tf32 = False  # which on recent GPUs is not float32
    checkpoint = load_checkpoint(Run(opening.model))
    deployed = DeployGraph(checkpoint.network, checkpoint.record.temperature, checkpoint.novelty)
    # Pixels and activations have the channels last: weights in the other layout would be converted in each run.
    graph: torch.nn.Module = deployed.eval().to(opening.provider).to(memory_format=torch.channels_last)
    if half:
        backbone = checkpoint.network.backbone.half()
        backbone.conv1.register_forward_pre_hook(lambda _, given: (given[0].half(),))
        backbone.layer4.register_forward_hook(lambda *given: given[-1].float())
    return graph


def open_network(opening: Opening, *, compiled: bool = False, half: bool = False) -> Network:
    """Opens a run's checkpoint; with `compiled`, `torch.compile` compiles the network at its first run."""
    import torch

    graph = load_network(opening, half=half)
    network = torch.compile(graph) if compiled else graph

    @torch.inference_mode()
    def run(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: tuple[torch.Tensor, ...] = network(pixels)
        if opening.provider == "cuda":
            torch.cuda.synchronize()
        return outputs

    def fetch(outputs: tuple[torch.Tensor, ...]) -> Outputs:
        return Outputs(*(output.float().cpu().numpy() for output in outputs))

    def stage(pixels: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(pixels).to(opening.provider)

    return Network(run, stage, fetch) if opening.bound else Network(lambda pixels: fetch(run(stage(pixels))))
