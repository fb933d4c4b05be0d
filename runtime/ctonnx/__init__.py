"""ctonnx: from a folder of CT images to an edge model, verified to match its PyTorch original.

This package is the slim runtime, which predicts with onnxruntime, NumPy and Pillow:

    from ctonnx import Predictor

    with Predictor("runs/lungs/export/model.fp32.onnx") as predictor:
        for record in predictor.predict_many(["a.png", "b.png"]):
            print(record.as_dict())

Each name is imported on first use, so that `import ctonnx` is fast.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctonnx.artifacts.spec import ModelSpec
    from ctonnx.errors import (
        CheckFailed,
        CtonnxError,
        DataError,
        ImageError,
        ModelError,
        NotEnoughMemory,
        ProviderError,
        SignatureError,
    )
    from ctonnx.images import Preprocessing
    from ctonnx.parity.comparison import Parity, compare
    from ctonnx.parity.outputs import Outputs
    from ctonnx.prediction.predictor import Predictor
    from ctonnx.prediction.results import Failure, Prediction

__all__ = [
    "CheckFailed",
    "CtonnxError",
    "DataError",
    "Failure",
    "ImageError",
    "ModelError",
    "ModelSpec",
    "NotEnoughMemory",
    "Outputs",
    "Parity",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "ProviderError",
    "SignatureError",
    "__version__",
    "compare",
]

_HOMES = {
    "CheckFailed": "errors",
    "CtonnxError": "errors",
    "DataError": "errors",
    "Failure": "prediction.results",
    "ImageError": "errors",
    "ModelError": "errors",
    "ModelSpec": "artifacts.spec",
    "NotEnoughMemory": "errors",
    "Outputs": "parity.outputs",
    "Parity": "parity.comparison",
    "Prediction": "prediction.results",
    "Predictor": "prediction.predictor",
    "Preprocessing": "images.preprocessing",
    "ProviderError": "errors",
    "SignatureError": "errors",
    "compare": "parity.comparison",
}


# onnxruntime's telemetry is on by default and stores a device ID in the home folder (seen with 1.31 on Linux), unless
# this is set when onnxruntime is imported. Set it to 0 to allow telemetry.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("ctonnx")
    if name not in _HOMES:
        raise AttributeError(f"module 'ctonnx' has no attribute {name!r}")
    return getattr(import_module(f"ctonnx.{_HOMES[name]}"), name)
