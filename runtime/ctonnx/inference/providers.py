"""The execution providers: which package holds each, and what it is given."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeAlias

from ctonnx.artifacts.onnx_file.metadata import read_spec_facts
from ctonnx.system.nvidia import nvidia_driver
from ctonnx.system.packages import version_of

__all__ = [
    "ON_CPU",
    "PROVIDERS",
    "Provider",
    "ProviderFacts",
    "cache_folder",
    "execution_providers",
    "int8_targets",
    "preload",
]

Provider: TypeAlias = Literal["cpu", "cuda", "tensorrt", "openvino", "coreml", "directml"]
"""What a model can run on, by the names of `--provider`."""


@dataclass(frozen=True, kw_only=True)
class ProviderFacts:
    """What a provider is: where it comes from, and how it is to be used.

    Attributes:
        execution_provider: onnxruntime's name of it.
        distribution: The build of onnxruntime that holds it.
        extra: of ctonnx, which brings that build.
        systems: where that build exists, by `sys.platform`'s names and by people's.
        precisions: of a run's models, those that suit it, the best one first.
        int8_target: of `ctonnx export --target`, that INT8 has to be made for; None where it is this processor's.
        on_cpu: Whether it computes on the processor.
        batch_size: Images at a time that are fastest as a rule.
        is_nvidia: Whether it is an NVIDIA GPU, which reads page-locked memory.
        one_run_at_a_time: Whether one batch at a time may be computed.
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
_CPU_BATCH = 4  # more costs memory and gains nothing there (python -m ctonnx_bench.experiments.throughput.streaming)

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
        one_run_at_a_time=True,  # in one piece of page-locked memory
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
        # https://onnxruntime.ai/docs/execution-providers/DirectML-ExecutionProvider.html: no calls of Run from several
        # threads on one session.
        one_run_at_a_time=True,
    ),
}
"""Every provider, in the order in which they are listed."""

ON_CPU = frozenset(str(name) for name, facts in PROVIDERS.items() if facts.on_cpu)
"""Those that compute on the processor."""

# The libraries that onnxruntime links to, in the order in which they need each other; those beside them in the wheel,
# gigabytes of kernels, are opened by TensorRT itself.
_TENSORRT = tuple(
    pattern.format(name)
    for name in ("nvinfer", "nvinfer_plugin", "nvonnxparser")
    for pattern in ("lib{}.so.*", "{}_[0-9]*.dll")
)

# https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#configuration-options
_CUDA_OPTIONS = {
    # Parity: TensorFloat-32 rounds the factors to 10 bits, which the FP32 gate would see.
    "use_tf32": "0",
    # EXHAUSTIVE, the default, times every algorithm at each new batch size, and may pick another one at the next start.
    "cudnn_conv_algo_search": "HEURISTIC",
}


def int8_targets(provider: Provider, processor: str) -> tuple[str, ...]:
    """Returns the targets of `ctonnx export` whose INT8 models are meant for a provider.

    Args:
        provider: that a model runs on.
        processor: of the machine: `ctonnx.system.cpu.architecture()`.
    """
    if fixed := PROVIDERS[provider].int8_target:
        return (fixed,)
    return ("x86", "amx") if processor == "x86" else (processor,)  # a model for AMX runs on any x86


def execution_providers(
    provider: Provider, model: Path | bytes, *, threads: int, version: str
) -> list[tuple[str, dict[str, str]]]:
    """Returns the providers for onnxruntime, the one that is meant first, each with its options.

    Args:
        provider: that is to run the model.
        model: Path of an `.onnx` file, or its bytes.
        threads: for a provider that has its own on the CPU.
        version: onnxruntime's, for the name of TensorRT's cache.
    """
    options: dict[str, str] = {}
    if provider == "cuda":
        options = dict(_CUDA_OPTIONS)
    elif provider == "tensorrt":
        # What TensorRT does not take goes to CUDA, on the same GPU.
        cuda = (PROVIDERS["cuda"].execution_provider, dict(_CUDA_OPTIONS))
        return [(PROVIDERS["tensorrt"].execution_provider, _tensorrt_options(model, version)), cuda]
    elif provider == "openvino":
        # ACCURACY: else OpenVINO is free to compute FP32 in bfloat16 where the processor has it.
        options = {"device_type": "CPU", "num_of_threads": str(threads), "precision": "ACCURACY"}
    elif provider == "coreml":
        options = {"ModelFormat": "MLProgram"}  # the older format has neither FP16 nor all of the operators
    return [(PROVIDERS[provider].execution_provider, options)]


def preload(provider: Provider, onnxruntime: ModuleType) -> None:
    """Loads the libraries that pip installed where the system's loader does not look for them.

    What is missing is told when the session is made.

    Args:
        provider: that needs them.
        onnxruntime: The module.
    """
    import ctypes
    import io
    from contextlib import redirect_stdout, suppress

    if provider == "openvino" and sys.platform == "win32":  # Linux's wheel has OpenVINO in it
        with suppress(ImportError, IndexError, SystemExit):
            from onnxruntime.tools.add_openvino_win_libs import add_openvino_libs_to_path

            add_openvino_libs_to_path()
    if PROVIDERS[provider].is_nvidia:
        with redirect_stdout(io.StringIO()):  # where it prints what it misses
            onnxruntime.preload_dlls()
    if provider == "tensorrt":
        from importlib.util import find_spec

        spec = find_spec("tensorrt_libs")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for library in (found for pattern in _TENSORRT for found in sorted(Path(folder).glob(pattern))):
                with suppress(OSError):
                    ctypes.CDLL(str(library))


def cache_folder() -> Path:
    """Returns the folder for files that cost time to make and nothing to lose, whether it exists or not."""
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "ctonnx" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ctonnx"


def _tensorrt_options(model: Path | bytes, version: str) -> dict[str, str]:
    """Returns the options of https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html.

    An engine takes minutes to build, and runs on the GPU, the TensorRT and the model that it was built for alone; the
    cache's name says all of these.
    """
    precision = read_spec_facts(model).get("precision")
    # onnxruntime wants True or False here, and calls anything else an error.
    options = {"trt_fp16_enable": str(precision == "fp16"), "trt_int8_enable": str(precision == "int8")}
    try:
        folder = cache_folder() / "tensorrt" / _tensorrt_key(model, version)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a user without a home, or one that is read-only
        return options  # it costs the time of building, and no more
    for cache in ("engine", "timing"):
        options |= {f"trt_{cache}_cache_enable": "True", f"trt_{cache}_cache_path": str(folder)}
    return options


def _tensorrt_key(model: Path | bytes, version: str) -> str:
    from ctonnx.system.files import sha256_of

    driver = nvidia_driver()
    gpu = f"{driver.gpus[0].name} {driver.gpus[0].compute}" if driver and driver.gpus else "unknown"
    facts = "\n".join((sha256_of(model), gpu, version, _tensorrt_version()))
    return sha256_of(facts.encode())[:24]


def _tensorrt_version() -> str:
    import ctypes

    for module in ("tensorrt", "tensorrt_libs"):  # of tensorrt-cu12, tensorrt-cu13 and their libraries' packages
        if version := version_of(module):
            return version
    try:  # installed without pip
        return str(
            ctypes.CDLL("nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10").getInferLibVersion()
        )
    except (OSError, AttributeError):
        return "unknown"
