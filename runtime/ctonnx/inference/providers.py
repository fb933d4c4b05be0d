"""Execution providers: packages, precisions and options of each."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeAlias

from ctonnx.inference.cuda import cuda_options

__all__ = [
    "ON_CPU",
    "PROVIDERS",
    "Plugin",
    "Provider",
    "ProviderFacts",
    "computed_precision",
    "execution_providers",
    "int8_targets",
    "plugin_options",
    "preload",
]

Provider: TypeAlias = Literal[
    "cpu",
    "cuda",
    "tensorrt",
    "tensorrt-rtx",
    "openvino",
    "openvino:gpu",
    "openvino:npu",
    "coreml",
    "mlx",
    "directml",
    "qnn",
    "webgpu",
]
"""Execution provider, by its name in `--provider`, with the device if the provider has several kinds."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """Package with a provider that any build of onnxruntime can load, and one kind of its devices.

    Attributes:
        module: Module of the package. It has a function `get_library_path` (MLX's: `library_path`).
        requirement: Requirement of pip for the package, as in the extra.
        device: Kind of device: name in `onnxruntime.OrtHardwareDeviceType`.
        hardware: Required hardware, for messages.
        vendor: Vendor of the only processors that the plugin takes, if its device is the processor; else empty.
        architectures: Processors that the package has wheels for, as `ctonnx.system.cpu.architecture` names them.
    """

    module: str
    requirement: str
    device: Literal["CPU", "GPU", "NPU"]
    hardware: str
    vendor: str = ""
    architectures: tuple[str, ...] = ("x86", "arm")

    @property
    def distribution(self) -> str:
        """Name of the package."""
        return self.requirement.partition(">")[0]


@dataclass(frozen=True, kw_only=True)
class ProviderFacts:
    """Package and properties of an execution provider.

    Attributes:
        execution_provider: Name in onnxruntime.
        distribution: Build of onnxruntime that the extra installs.
        extra: Extra of ctonnx that installs the build and the plugin.
        systems: Operating systems of the provider: names in `sys.platform`, with names for messages.
        precisions: Supported precisions, the best one first.
        plugin: Plugin with this provider; None if the build contains it.
        older_build: Build that contains the provider, from before its plugin; None if no build is used instead of it.
        int8_target: Required target of INT8 models (`ctonnx export --target`); None for that of this processor.
        on_cpu: Whether it runs on the CPU.
        batch_size: Number of images in a batch that is usually the fastest.
        is_nvidia: Whether it runs on an NVIDIA GPU.
        one_run_at_a_time: Whether a session can run only one batch at a time.
        one_image_a_run: Whether it compiles the graph for a fixed batch size, which is 1.
        computes_in_fp16: Whether it computes FP32 models in FP16, so that they have FP16's tolerance.
    """

    execution_provider: str
    distribution: str
    extra: str
    systems: Mapping[str, str]
    precisions: tuple[str, ...]
    plugin: Plugin | None = None
    older_build: str | None = None
    int8_target: str | None = None
    on_cpu: bool = False
    batch_size: int = 32
    is_nvidia: bool = False
    one_run_at_a_time: bool = False
    one_image_a_run: bool = False
    computes_in_fp16: bool = False


_SYSTEMS = {"linux": "Linux", "win32": "Windows", "darwin": "macOS"}
_NO_MAC = {"linux": "Linux", "win32": "Windows"}
_MAC = {"darwin": "macOS"}
_OPENVINO = Plugin(
    module="onnxruntime_ep_openvino",
    requirement="onnxruntime-ep-openvino>=1.8",
    device="CPU",
    hardware="an Intel processor",
    vendor="Intel",  # as long as this is open: https://github.com/microsoft/onnxruntime/pull/31981
    architectures=("x86",),
)
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
    "tensorrt-rtx": ProviderFacts(
        execution_provider="NvTensorRTRTXExecutionProvider",
        distribution="onnxruntime",
        extra="tensorrt-rtx",
        systems=_NO_MAC,
        precisions=("fp16", "fp32"),
        plugin=Plugin(
            module="onnxruntime_ep_nv_tensorrt_rtx",
            requirement="onnxruntime-ep-nv-tensorrt-rtx-cu13>=0.5",
            device="GPU",
            hardware="an NVIDIA RTX GPU",
        ),
        is_nvidia=True,
        one_run_at_a_time=True,
    ),
    "openvino": ProviderFacts(
        execution_provider="OpenVINOExecutionProvider",
        distribution="onnxruntime",
        extra="openvino",
        systems=_NO_MAC,
        precisions=("int8", "fp32"),
        plugin=_OPENVINO,
        older_build="onnxruntime-openvino",
        int8_target="x86",
        on_cpu=True,
        batch_size=_CPU_BATCH,
    ),
    "openvino:gpu": ProviderFacts(
        execution_provider="OpenVINOExecutionProvider",
        distribution="onnxruntime",
        extra="openvino",
        systems=_NO_MAC,
        precisions=("fp16", "fp32"),
        plugin=replace(_OPENVINO, device="GPU", hardware="an Intel GPU", vendor=""),
    ),
    "openvino:npu": ProviderFacts(
        execution_provider="OpenVINOExecutionProvider",
        distribution="onnxruntime",
        extra="openvino",
        systems=_NO_MAC,
        precisions=("fp16", "fp32"),
        plugin=replace(_OPENVINO, device="NPU", hardware="an Intel NPU"),  # a part of its processors
        # https://docs.openvino.ai/2025/openvino-workflow/running-inference/inference-devices-and-modes/npu-device.html
        one_image_a_run=True,
        computes_in_fp16=True,
        batch_size=_CPU_BATCH,
    ),
    "coreml": ProviderFacts(
        execution_provider="CoreMLExecutionProvider",
        distribution="onnxruntime",
        extra="cpu",
        systems=_MAC,
        precisions=("fp16", "fp32"),
    ),
    "mlx": ProviderFacts(
        execution_provider="MLXExecutionProvider",
        distribution="onnxruntime",
        extra="mlx",
        systems=_MAC,
        precisions=("fp16", "fp32"),
        plugin=Plugin(
            module="onnxruntime_ep_mlx",
            requirement="onnxruntime-ep-mlx>=0.31",
            device="GPU",
            hardware="an Apple GPU",
            architectures=("arm",),
        ),
        one_run_at_a_time=True,
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
    "qnn": ProviderFacts(
        execution_provider="QNNExecutionProvider",
        distribution="onnxruntime",
        extra="qnn",
        systems=_NO_MAC,
        precisions=("fp16", "fp32"),
        plugin=Plugin(
            module="onnxruntime_qnn", requirement="onnxruntime-qnn>=2.7", device="NPU", hardware="a Qualcomm NPU"
        ),
        one_image_a_run=True,  # with any number of images in a batch, onnxruntime-qnn 2.7.0 takes no node of the graph
        computes_in_fp16=True,
        batch_size=_CPU_BATCH,
    ),
    "webgpu": ProviderFacts(
        execution_provider="WebGpuExecutionProvider",
        distribution="onnxruntime",
        extra="webgpu",
        systems=_SYSTEMS,
        precisions=("fp16", "fp32"),
        plugin=Plugin(
            module="onnxruntime_ep_webgpu", requirement="onnxruntime-ep-webgpu>=0.4", device="GPU", hardware="a GPU"
        ),
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


def int8_targets(provider: Provider, processor: str) -> tuple[str, ...]:
    """Returns the targets of `ctonnx export` whose INT8 models suit a provider on a processor's architecture."""
    if fixed := PROVIDERS[provider].int8_target:
        return (fixed,)
    return ("x86", "amx") if processor == "x86" else (processor,)  # a model for AMX runs on any x86 processor


def computed_precision(provider: Provider, precision: str) -> str:
    """Returns the precision that a provider computes a model in, whose gates its outputs must pass.

    >>> computed_precision("qnn", "fp32")
    'fp16'
    """
    return "fp16" if precision == "fp32" and PROVIDERS[provider].computes_in_fp16 else precision


def plugin_options(provider: Provider, *, threads: int) -> dict[str, str]:
    """Returns the options of a provider that a plugin provides; `threads` is for one that computes on the CPU.

    OpenVINO's plugin ignores all other options than `load_config` (`strings` of its library, release 1.8.1).
    """
    facts = PROVIDERS[provider]
    if facts.plugin is None or facts.extra != "openvino" or facts.plugin.device == "NPU":
        return {}
    # ACCURACY: otherwise OpenVINO may compute FP32 in bfloat16 or FP16 if the device supports it.
    settings = {"EXECUTION_MODE_HINT": "ACCURACY"}
    if facts.on_cpu:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    return {"load_config": json.dumps({facts.plugin.device: settings})}


def execution_providers(
    provider: Provider, model: Path | bytes, *, threads: int, version: str
) -> list[tuple[str, dict[str, str]]]:
    """Returns the providers of a build of onnxruntime with their options, the requested one first.

    `threads` is for a provider with its own CPU threads, the `version` of onnxruntime for the name of TensorRT's cache.
    """
    options: dict[str, str] = {}
    if provider == "cuda":
        options = cuda_options()
    elif provider == "tensorrt":
        from ctonnx.inference.tensorrt import tensorrt_options

        # Nodes that TensorRT does not support run on CUDA, on the same GPU.
        cuda = (PROVIDERS["cuda"].execution_provider, cuda_options())
        return [(PROVIDERS["tensorrt"].execution_provider, tensorrt_options(model, version)), cuda]
    elif provider == "openvino":  # its older build; the settings are those of `plugin_options`
        options = {"device_type": "CPU", "num_of_threads": str(threads), "precision": "ACCURACY"}
    elif provider == "coreml":
        options = {"ModelFormat": "MLProgram"}  # the older format lacks FP16 and some operators
    return [(PROVIDERS[provider].execution_provider, options)]


def preload(provider: Provider, onnxruntime: ModuleType) -> None:
    """Loads a built-in provider's libraries that pip installed in folders where the system's loader does not search.

    Missing ones are reported when the session is created.
    """
    import ctypes
    import io
    from contextlib import redirect_stdout, suppress

    if provider == "openvino" and sys.platform == "win32":  # its older build; the one for Linux includes OpenVINO
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
