"""OpenVINO's own INT8: NNCF's post-training quantization of the FP32 file with its defaults."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx_bench.cases.adapters.openvino import open_network

__all__ = ["open_network", "prepare"]


def prepare(model: Path, pixels: NDArray[np.uint8], folder: Path) -> Path:
    """Quantizes an FP32 file on pixels, uint8 [images, size, size, 3]; returns the file for `open_network`."""
    import nncf
    import openvino

    core: Any = openvino.Core()
    images: Any = nncf.Dataset([pixels[row : row + 1] for row in range(len(pixels))])
    quantized = nncf.quantize(core.read_model(str(model)), images, subset_size=len(pixels))
    file = folder / "openvino.int8.xml"
    openvino.save_model(quantized, str(file), compress_to_fp16=False)
    return file
