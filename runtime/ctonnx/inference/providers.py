"""Execution providers: packages, precisions and options of each."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeAlias

__all__ = ["ON_CPU", "PROVIDERS", "Provider", "ProviderFacts", "execution_providers", "int8_targets", "preload"]

Provider: TypeAlias = Literal["cpu", "cuda", "tensorrt", "openvino", "coreml", "directml"]
"""Execution provider, by its name in `--provider`."""


@dataclass(frozen=True, kw_only=True)
class ProviderFacts:
    """Package and properties of an execution provider.

    Attributes:
        execution_provider: Name in onnxruntime.
        distribution: Build of onnxruntime with this provider.
        extra: Extra of ctonnx that installs the build.
        systems: Operating systems of the build: names in `sys.platform`, with names for messages.
        precisions: Supported precisions, the best one first.
        int8_target: Required target of INT8 models (`ctonnx export --target`); None for that of this processor.
        on_cpu: Whether it runs on the CPU.
        batch_size: Number of images in a batch that is usually the fastest.
        is_nvidia: Whether it runs on an NVIDIA GPU, which reads page-locked memory.
        one_run_at_a_time: Whether a session can run only one batch at a time.
    """

    execution_provider: str
    distribution: str
    extra: str
    systems: Mapping[str, str]
    precisions: tuple[str, ...]
    int8_target: str | None = None
    on_cpu: bool = False
    batch_size: int = 32
    is_nvidia: bool = False
    one_run_at_a_time: bool = False


_SYSTEMS = {"linux": "Linux", "win32": "Windows", "darwin": "macOS"}
_NO_MAC = {"linux": "Linux", "win32": "Windows"}
_CPU_BATCH = 4  # larger ones are not faster (python -m ctonnx_bench.experiments.throughput.streaming)

PROVIDERS: Mapping[Provider, ProviderFacts] = {
    "cpu": ProviderFacts(
        execution_provider="CPUExecutionProvider",
        distribution="onnxruntime",
        extra="cpu",
        systems=_SYSTEMS,
        precisions=("int8", "fp32"),
        on_cpu=True,
        batch_size=_CPU_BATCH,
    ),
    "cuda": ProviderFacts(
        execution_provider="CUDAExecutionProvider",
        distribution="onnxruntime-gpu",
        extra="gpu",
        systems=_NO_MAC,
        precisions=("fp16", "fp32"),
        is_nvidia=True,
        one_run_at_a_time=True,  # a session has one block of page-locked memory
    ),
    "tensorrt": ProviderFacts(
        execution_provider="TensorrtExecutionProvider",
        distribution="onnxruntime-gpu",
        extra="gpu",
        systems=_NO_MAC,
        precisions=("int8", "fp16", "fp32"),
        int8_target="tensorrt",
        is_nvidia=True,
        one_run_at_a_time=True,
    ),
    "openvino": ProviderFacts(
        execution_provider="OpenVINOExecutionProvider",
        distribution="onnxruntime-openvino",
        extra="openvino",
        systems=_NO_MAC,
        precisions=("int8", "fp32"),
        int8_target="x86",
        on_cpu=True,
        batch_size=_CPU_BATCH,
    ),
    "coreml": ProviderFacts(
        execution_provider="CoreMLExecutionProvider",
        distribution="onnxruntime",
        extra="cpu",
        systems={"darwin": "macOS"},
        precisions=("fp16", "fp32"),
    ),
    "directml": ProviderFacts(
        execution_provider="DmlExecutionProvider",
        distribution="onnxruntime-directml",
        extra="directml",
        systems={"win32": "Windows"},
        precisions=("fp16", "fp32"),
        # A session may not run in several threads:
        # https://onnxruntime.ai/docs/execution-providers/DirectML-ExecutionProvider.html
        one_run_at_a_time=True,
    ),
}
"""All providers, in the order of their listing."""

ON_CPU = frozenset(str(name) for name, facts in PROVIDERS.items() if facts.on_cpu)
"""Names of the providers that run on the CPU."""

# The libraries that onnxruntime links to, in the order of their dependencies. TensorRT itself opens the other ones of
# the wheel, gigabytes of kernels.
_TENSORRT = tuple(
    pattern.format(name)
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser")
    for pattern in ("lib{}.so.*", "{}_[0-9]*.dll")
)

# https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#configuration-options
_CUDA_OPTIONS = {
    # Parity: TensorFloat-32 rounds the factors to 10 bits, which would fail the FP32 gate.
    "use_tf32": "0",
    # EXHAUSTIVE, the default, times all algorithms for each new batch size, and may select another one in each process.
    "cudnn_conv_algo_search": "HEURISTIC",
}


def int8_targets(provider: Provider, processor: str) -> tuple[str, ...]:
    """Returns the targets of `ctonnx export` whose INT8 models suit a provider on a processor's architecture."""
    if fixed := PROVIDERS[provider].int8_target:
        return (fixed,)
    return ("x86", "amx") if processor == "x86" else (processor,)  # a model for AMX runs on any x86 processor


def execution_providers(
    provider: Provider, model: Path | bytes, *, threads: int, version: str
) -> list[tuple[str, dict[str, str]]]:
    """Returns the providers for onnxruntime with their options, the requested one first.

    `threads` is for a provider with its own CPU threads, the `version` of onnxruntime for the name of TensorRT's cache.
    """
    options: dict[str, str] = {}
    if provider == "cuda":
        options = dict(_CUDA_OPTIONS)
    elif provider == "tensorrt":
        from ctonnx.inference.tensorrt import tensorrt_options

        # Nodes that TensorRT does not support run on CUDA, on the same GPU.
        cuda = (PROVIDERS["cuda"].execution_provider, dict(_CUDA_OPTIONS))
        return [(PROVIDERS["tensorrt"].execution_provider, tensorrt_options(model, version)), cuda]
    elif provider == "openvino":
        # ACCURACY: otherwise OpenVINO may compute FP32 in bfloat16 if the processor supports it.
        options = {"device_type": "CPU", "num_of_threads": str(threads), "precision": "ACCURACY"}
    elif provider == "coreml":
        options = {"ModelFormat": "MLProgram"}  # the older format lacks FP16 and some operators
    return [(PROVIDERS[provider].execution_provider, options)]


def preload(provider: Provider, onnxruntime: ModuleType) -> None:
    """Loads a provider's libraries that pip installed in folders where the system's loader does not search.

    Missing ones are reported when the session is created.
    """
    import ctypes
    import io
    from contextlib import redirect_stdout, suppress

    if provider == "openvino" and sys.platform == "win32":  # the wheel for Linux includes OpenVINO
        with suppress(ImportError, IndexError, SystemExit):
            from onnxruntime.tools.add_openvino_win_libs import add_openvino_libs_to_path

            add_openvino_libs_to_path()
    if PROVIDERS[provider].is_nvidia:
        with redirect_stdout(io.StringIO()):  # it prints missing libraries
            onnxruntime.preload_dlls()
    if provider == "tensorrt":
        from importlib.util import find_spec

        spec = find_spec("tensorrt_libs")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for library in (found for pattern in _TENSORRT for found in sorted(Path(folder).glob(pattern))):
                with suppress(OSError):
                    ctypes.CDLL(str(library))
