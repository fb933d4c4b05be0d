"""OpenVINO on the exported FP32 file, or on its own file, optimized for latency, in full float32."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs, output_names
from ctonnx_bench.cases.adapters.adapter import Network, Opening

__all__ = ["open_network"]


def open_network(opening: Opening) -> Network:
    """Compiles a model for the CPU."""
    import openvino

    core: Any = openvino.Core()
    compiled = core.compile_model(
        str(opening.model),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": opening.threads,
            "INFERENCE_PRECISION_HINT": "f32",  # OpenVINO would use bfloat16 if the processor has it
        },
    )
    request = compiled.create_infer_request()
    names = output_names([output.any_name for output in compiled.outputs])

    def run(pixels: NDArray[np.uint8]) -> Outputs:
        found = request.infer({"pixels": pixels}, share_inputs=True)
        return Outputs(*(found[name] for name in names))

    return Network(run)
