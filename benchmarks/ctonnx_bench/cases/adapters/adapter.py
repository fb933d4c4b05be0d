"""What `ctonnx bench` times: ctonnx, and each peer, behind one small file here.

An adapter has `open_network(opening) -> Network`, in which its heavy imports stand, as they are part of a cold start.
One that makes a model of its own, such as OpenVINO's INT8, has `prepare(model, pixels, folder) -> Path` too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctonnx.inference.providers import ON_CPU, PROVIDERS
from ctonnx.parity.outputs import Outputs

__all__ = ["ADAPTERS", "OWN", "PEERS", "Adapter", "Network", "Opening", "adapter_module"]


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Network:
    """A network that is ready to answer.

    Attributes:
        run: Answers for a staged batch: what is timed.
        stage: Makes a batch ready before it is timed, from pixels, uint8 [batch, size, size, 3].
        fetch: Makes `Outputs` of what `run` returned, after it was timed.
    """

    run: Callable[[Any], Any]
    stage: Callable[[NDArray[np.uint8]], Any] = _as_it_is
    fetch: Callable[[Any], Outputs] = _as_it_is

    def answer(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Answers for pixels, with all that it takes."""
        return self.fetch(self.run(self.stage(pixels)))


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a network is opened.

    Attributes:
        model: The `.onnx` file, the run's folder, or what `prepare` made.
        provider: One of `ctonnx.inference.providers.PROVIDERS`.
        threads: Within an operator.
        bound: Whether inputs and outputs stay in the device's memory (onnxruntime's IO binding).
        spinning: Whether threads that wait go on looking for work, which answers sooner and burns the core.
        workers: Parts of a batch that are computed at a time, each with its share of the threads; of ctonnx alone.
    """

    model: Path
    provider: str
    threads: int
    bound: bool = False
    spinning: bool = True
    workers: int = 1


class Adapter(NamedTuple):
    """What is known of an adapter before it is imported.

    Attributes:
        title: of its rows.
        module: Its file here.
        model: what it is given: an exported file, or a run, whose weights PyTorch reads.
        precision: whose gate its answers must pass; None for that of the file.
        needs: Modules that must be installed.
        install: what installs them.
        providers: that it can run on.
        prepares: Whether it makes a model of its own first.
        resident: Whether inputs and outputs may stay in the GPU's memory.
    """

    title: str
    module: str
    model: Literal["file", "run"]
    precision: str | None
    needs: tuple[str, ...]
    install: str
    providers: tuple[str, ...]
    prepares: bool = False
    resident: bool = False

    def place(self, provider: str) -> str | None:
        """Returns the provider that it runs on beside ctonnx on that one; None where it can be no peer there.

        Where ctonnx computes on the processor, through whatever provider, those that can do the same are its peers.
        """
        if provider in self.providers:
            return provider
        return "cpu" if provider in ON_CPU and "cpu" in self.providers else None


OWN = "ctonnx"
"""The adapter of ctonnx itself."""

_TORCH = ("torch", "torchvision", "safetensors", "onnx")
_TORCH_EXTRAS = "ctonnx[train,export]"
ADAPTERS = {
    OWN: Adapter("ctonnx", "predictor", "file", None, ("onnxruntime",), "ctonnx[cpu]", tuple(PROVIDERS), resident=True),
    "pytorch": Adapter(
        "PyTorch eager", "torch_eager", "run", "fp32", _TORCH, _TORCH_EXTRAS, ("cpu", "cuda"), resident=True
    ),
    "pytorch-fp16": Adapter(
        "PyTorch FP16", "torch_half", "run", "fp16", _TORCH, _TORCH_EXTRAS, ("cuda",), resident=True
    ),
    "torch-compile": Adapter(
        "torch.compile", "torch_compile", "run", "fp32", _TORCH, _TORCH_EXTRAS, ("cpu", "cuda"), resident=True
    ),
    "onnxruntime": Adapter(
        "onnxruntime, plain", "plain", "file", "fp32", ("onnxruntime",), "ctonnx[cpu]", ("cpu", "cuda")
    ),
    "openvino": Adapter("OpenVINO", "openvino", "file", "fp32", ("openvino",), "openvino", ("cpu",)),
    "openvino-int8": Adapter(
        "OpenVINO, its INT8", "openvino_int8", "file", "int8", ("openvino", "nncf"), "openvino nncf", ("cpu",), True
    ),
}
"""Every adapter by its name on the command line."""

PEERS = tuple(name for name in ADAPTERS if name != OWN)
"""What `--peers` takes."""


def adapter_module(name: str) -> ModuleType:
    """Imports an adapter's file."""
    return import_module(f"ctonnx_bench.cases.adapters.{ADAPTERS[name].module}")
