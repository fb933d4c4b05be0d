"""PyTorch eager on a run's checkpoint: no gradients, full float32, the same outputs as the exported model."""

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.adapters.adapter import Network, Opening

__all__ = ["open_network"]


def open_network(opening: Opening, *, compiled: bool = False, half: bool = False) -> Network:
    """Opens a run's checkpoint.

    With `compiled`, `torch.compile` compiles the network at its first run. With `half`, the convolutions, from the
    normalized pixels on, are float16.
    """
    import torch

    from ctonnx.artifacts.run import Run
    from ctonnx_export.graph.deploy_graph import DeployGraph
    from ctonnx_train.runs.checkpoint import load_checkpoint

    torch.set_num_threads(opening.threads)
    torch.backends.cudnn.allow_tf32 = False  # which on recent GPUs is not float32
    device = torch.device(opening.provider)
    checkpoint = load_checkpoint(Run(opening.model))
    deployed = DeployGraph(checkpoint.network, checkpoint.record.temperature, checkpoint.novelty)
    graph: torch.nn.Module = deployed.eval().to(device)
    # Pixels and activations have the channels last: weights in the other layout would be converted in each run.
    graph = graph.to(memory_format=torch.channels_last)
    if half:
        backbone = checkpoint.network.backbone.half()
        backbone.conv1.register_forward_pre_hook(lambda _, given: (given[0].half(),))
        backbone.layer4.register_forward_hook(lambda *given: given[-1].float())
    network = torch.compile(graph) if compiled else graph

    def stage(pixels: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(pixels).to(device)

    @torch.inference_mode()
    def run(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs: tuple[torch.Tensor, ...] = network(pixels)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return outputs

    def fetch(outputs: tuple[torch.Tensor, ...]) -> Outputs:
        return Outputs(*(output.float().cpu().numpy() for output in outputs))

    if opening.bound:
        return Network(run, stage, fetch)
    return Network(lambda pixels: fetch(run(stage(pixels))))
