"""ctonnx: `Predictor.predict_pixels`, or its session with inputs and outputs bound to the device's memory."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs, output_names
from ctonnx_bench.cases.adapters.adapter import Network, Opening

if TYPE_CHECKING:
    from ctonnx.inference.providers import Provider

__all__ = ["open_network"]


def open_network(opening: Opening) -> Network:
    """Opens an exported model as `ctonnx predict` does."""
    from ctonnx.prediction.predictor import Predictor

    predictor = Predictor(
        opening.model,
        provider=cast("Provider", opening.provider),
        threads=opening.threads,
        spinning=opening.spinning,
        workers=opening.workers,
    )
    if opening.workers > 1:  # as `Predictor.predict_many` computes a folder
        pool = ThreadPoolExecutor(opening.workers)

        def share(pixels: NDArray[np.uint8]) -> Outputs:
            return Outputs.concatenate(list(pool.map(predictor.predict_pixels, np.split(pixels, opening.workers))))

        return Network(share)
    if not opening.bound:
        return Network(predictor.predict_pixels)
    from onnxruntime import OrtValue

    session = predictor.session
    names = output_names([item.name for item in session.get_outputs()])

    def stage(pixels: NDArray[np.uint8]) -> Any:
        """Copies the pixels to the device, and lets onnxruntime allocate the outputs there."""
        binding = session.io_binding()
        binding.bind_ortvalue_input("pixels", OrtValue.ortvalue_from_numpy(pixels, opening.provider, 0))
        for name in names:
            binding.bind_output(name, opening.provider)
        return binding

    def run(binding: Any) -> Any:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding

    return Network(run, stage, lambda binding: Outputs(*binding.copy_outputs_to_cpu()))
