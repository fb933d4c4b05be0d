"""Plain onnxruntime, as in its first example: a session with default options except for the threads.

On CUDA it computes in full float32 as all others do: TensorFloat-32, its default there, is off.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs, output_names
from ctonnx_bench.cases.adapters.adapter import Network, Opening

__all__ = ["open_network"]

_PROVIDERS = {"cpu": ("CPUExecutionProvider", {}), "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"})}


def open_network(opening: Opening) -> Network:
    """Opens an exported model."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = opening.threads
    session = onnxruntime.InferenceSession(str(opening.model), options, [_PROVIDERS[opening.provider]])
    names = output_names([item.name for item in session.get_outputs()])

    def run(pixels: NDArray[np.uint8]) -> Outputs:
        return Outputs(*session.run(names, {"pixels": pixels}))

    return Network(run)
