"""Interface of the adapters: ctonnx and each peer of `ctonnx bench` is one small file in this folder.

An adapter has `open_network(opening) -> Network`, which contains its heavy imports, as they are part of a cold start.
Adapters that differ only in its further arguments share a file.
An adapter that makes its own model, such as OpenVINO's INT8, also has `prepare(model, pixels, folder) -> Path`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctonnx.inference.providers import ON_CPU, PROVIDERS
from ctonnx.parity.outputs import Outputs

__all__ = ["ADAPTERS", "OWN", "PEERS", "Adapter", "Network", "Opening", "adapter_module", "open_network"]


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Network:
    """Opened network.

    Attributes:
        run: Computes a staged batch; the only timed call.
        stage: Prepares a batch before the timed call, from pixels, uint8 [batch, size, size, 3].
        fetch: Converts the result of `run` to `Outputs`, after the timed call.
    """

    run: Callable[[Any], Any]
    stage: Callable[[NDArray[np.uint8]], Any] = _unchanged
    fetch: Callable[[Any], Outputs] = _unchanged

    def predict(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Computes the outputs for pixels, including staging and fetching."""
        return self.fetch(self.run(self.stage(pixels)))


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Options for opening a network.

    Attributes:
        model: The `.onnx` file, the run's folder, or the result of `prepare`.
        provider: One of `ctonnx.inference.providers.PROVIDERS`.
        threads: Threads within an operator.
        bound: Whether inputs and outputs stay in the device's memory (onnxruntime's IO binding).
        spinning: Whether waiting threads spin, which lowers the latency and keeps the cores busy.
        workers: Parts of a batch that are computed in parallel, each with its share of the threads; ctonnx only.
    """

    model: Path
    provider: str
    threads: int
    bound: bool = False
    spinning: bool = True
    workers: int = 1


class Adapter(NamedTuple):
    """Properties of an adapter that are known without importing it.

    Attributes:
        title: Title of its rows.
        model: Input: the exported FP32 file, the first measured INT8 file, or a run whose weights PyTorch reads.
        precision: Precision whose gate its outputs must pass; None for that of the file.
        install: Arguments of `pip install` for the modules that it needs.
        prepares: Whether it makes its own model first.
        resident: Whether inputs and outputs may stay in the GPU's memory.
        options: Further arguments of `open_network`.
    """

    title: str
    module: str
    model: Literal["file", "int8", "run"]
    precision: str | None
    needs: tuple[str, ...]
    install: str
    providers: tuple[str, ...]
    prepares: bool = False
    resident: bool = False
    options: Mapping[str, bool] = MappingProxyType({})

    def peer_provider(self, provider: str) -> str | None:
        """Returns the provider to compare with ctonnx on `provider`; None if the adapter cannot be a peer there.

        If ctonnx computes on the processor, through any provider, all adapters that run on the processor are peers.
        """
        if provider in self.providers:
            return provider
        return "cpu" if provider in ON_CPU and "cpu" in self.providers else None


OWN = "ctonnx"
"""Name of ctonnx's own adapter."""

_TORCH = ("torch", "torchvision", "safetensors", "onnx")


def _torch(title: str, precision: str, *providers: str, module: str = "torch_network", **options: bool) -> Adapter:
    return Adapter(
        title,
        module,
        "run",
        precision,
        _TORCH,
        "ctonnx[train,export]",
        providers,
        resident=True,
        options=options,
    )


ADAPTERS = {
    OWN: Adapter("ctonnx", "predictor", "file", None, ("onnxruntime",), "ctonnx[cpu]", tuple(PROVIDERS), resident=True),
    "pytorch": _torch("PyTorch eager", "fp32", "cpu", "cuda"),
    "pytorch-fp16": _torch("PyTorch FP16", "fp16", "cuda", half=True),
    "torch-compile": _torch("torch.compile", "fp32", "cpu", "cuda", compiled=True),
    "torch-compile-fp16": _torch("torch.compile FP16", "fp16", "cuda", half=True, compiled=True),
    "torch-graphs-fp16": _torch("PyTorch FP16, CUDA graph", "fp16", "cuda", module="torch_graph"),
    "onnxruntime": Adapter(
        "onnxruntime, plain", "plain", "file", "fp32", ("onnxruntime",), "ctonnx[cpu]", ("cpu", "cuda")
    ),
    "openvino": Adapter("OpenVINO", "openvino", "file", "fp32", ("openvino",), "openvino", ("cpu",)),
    "openvino-file": Adapter(
        "OpenVINO, ctonnx's INT8 file", "openvino", "int8", "int8", ("openvino",), "openvino", ("cpu",)
    ),
    "openvino-int8": Adapter(
        "OpenVINO, its INT8", "openvino_int8", "file", "int8", ("openvino", "nncf"), "openvino nncf", ("cpu",), True
    ),
}
"""Every adapter by its name on the command line."""

PEERS = tuple(name for name in ADAPTERS if name != OWN)
"""Names that `--peers` accepts."""


def adapter_module(name: str) -> ModuleType:
    """Imports an adapter's file."""
    return import_module(f"ctonnx_bench.cases.adapters.{ADAPTERS[name].module}")


def open_network(name: str, opening: Opening) -> Network:
    """Opens a network with an adapter."""
    network: Network = adapter_module(name).open_network(opening, **ADAPTERS[name].options)
    return network
