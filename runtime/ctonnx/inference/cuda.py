"""Settings of the CUDA provider: TensorFloat-32, search for convolution algorithms, NHWC, and CUDA graphs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from ctonnx.errors import ProviderError

__all__ = ["VARIABLE", "CudaSettings", "Search", "cuda_options", "cuda_settings"]

VARIABLE = "CTONNX_CUDA"
"""Environment variable with the settings, separated by commas: `tf32`, `nhwc`, `search=exhaustive`."""

Search: TypeAlias = Literal["heuristic", "exhaustive", "default"]


@dataclass(frozen=True, kw_only=True)
class CudaSettings:
    """Settings of the CUDA provider; docs/reference/providers.md has the reasons for the defaults.

    https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#configuration-options

    Attributes:
        tf32: Whether products of float32 use TensorFloat-32, whose factors have 10 bits.
        search: Choice of cuDNN's convolution algorithms. `exhaustive` times all for each new batch size.
        nhwc: Whether convolutions have the channels last.
        cuda_graph: Whether the first run is captured as a CUDA graph that later ones replay. Inputs and outputs must
            keep their addresses and shapes, so `Predictor` cannot use it.
    """

    tf32: bool = False
    search: Search = "heuristic"
    nhwc: bool = False
    cuda_graph: bool = False

    @classmethod
    def from_text(cls, text: str) -> "CudaSettings":
        """Returns the settings in the text of the environment variable.

        >>> CudaSettings.from_text("nhwc, search=exhaustive")
        CudaSettings(tf32=False, search='exhaustive', nhwc=True, cuda_graph=False)

        Raises:
            ProviderError: If a setting does not exist.
        """
        settings = cls()
        for word in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = word.partition("=")
            if word in ("tf32", "nhwc"):
                settings = replace(settings, tf32=settings.tf32 or word == "tf32", nhwc=settings.nhwc or word == "nhwc")
            elif name == "search" and value in get_args(Search):
                settings = replace(settings, search=next(one for one in get_args(Search) if one == value))
            else:
                choices = "|".join(get_args(Search))
                raise ProviderError(f"expected settings of {VARIABLE} (tf32, nhwc, search={choices}), found {word!r}")
        return settings

    def options(self) -> dict[str, str]:
        """Returns the options for onnxruntime."""
        options = {"use_tf32": str(int(self.tf32)), "cudnn_conv_algo_search": self.search.upper()}
        if self.nhwc:
            options["prefer_nhwc"] = "1"
        if self.cuda_graph:
            options["enable_cuda_graph"] = "1"
        return options


_CURRENT: ContextVar[CudaSettings | None] = ContextVar("cuda_settings", default=None)


@contextmanager
def cuda_settings(settings: CudaSettings) -> Iterator[None]:
    """Opens the sessions of the block with these settings instead of those of the environment."""
    token = _CURRENT.set(settings)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def cuda_options() -> dict[str, str]:
    """Returns the options of a new session: those of `cuda_settings`, or of the environment.

    Raises:
        ProviderError: If the environment has a setting that does not exist.
    """
    return (_CURRENT.get() or CudaSettings.from_text(os.environ.get(VARIABLE, ""))).options()
