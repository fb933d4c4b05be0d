"""Options of TensorRT, with the folder in which it caches its engines."""

import ctypes
import os
import sys
from pathlib import Path

from ctonnx.artifacts.onnx_file.metadata import read_spec_facts
from ctonnx.system.files import sha256_of
from ctonnx.system.nvidia import nvidia_driver
from ctonnx.system.packages import version_of

__all__ = ["cache_folder", "tensorrt_options"]


def cache_folder() -> Path:
    """Returns the folder for cached files, which may not exist."""
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "ctonnx" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ctonnx"


def tensorrt_options(model: Path | bytes, version: str) -> dict[str, str]:
    """Returns the options of https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html.

    Building an engine takes minutes. It runs only on the GPU and with the model and the versions of onnxruntime and
    TensorRT that it was built for, which are all part of the cache's name.
    """
    precision = read_spec_facts(model).get("precision")
    # onnxruntime accepts only True and False here.
    options = {"trt_fp16_enable": str(precision == "fp16"), "trt_int8_enable": str(precision == "int8")}
    try:
        folder = cache_folder() / "tensorrt" / _cache_key(model, version)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home folder, or a read-only one
        return options  # the engine is built each time
    for cache in ("engine", "timing"):
        options |= {f"trt_{cache}_cache_enable": "True", f"trt_{cache}_cache_path": str(folder)}
    return options


def _cache_key(model: Path | bytes, version: str) -> str:
    driver = nvidia_driver()
    gpu = f"{driver.gpus[0].name} {driver.gpus[0].compute}" if driver and driver.gpus else "unknown"
    facts = "\n".join((sha256_of(model), gpu, version, _version()))
    return sha256_of(facts.encode())[:24]


def _version() -> str:
    for module in ("tensorrt", "tensorrt_libs"):  # modules of tensorrt-cu12, tensorrt-cu13 and their library packages
        if version := version_of(module):
            return version
    library = "nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"
    try:  # TensorRT is installed without pip
        return str(ctypes.CDLL(library).getInferLibVersion())
    except (OSError, AttributeError):
        return "unknown"
