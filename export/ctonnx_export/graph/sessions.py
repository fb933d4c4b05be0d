"""onnxruntime sessions of an export, and the number of threads that they and PyTorch use."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import onnx
import torch
from onnxruntime import InferenceSession

from ctonnx.inference.session import open_session
from ctonnx.system.cpu import available_cores, check_threads

__all__ = ["computing_threads", "open_model"]

_THREADS: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def computing_threads(threads: int | None) -> Iterator[None]:
    """Sets the number of threads of PyTorch and of the sessions opened in the block; None uses all available cores.

    Raises:
        ValueError: If `ctonnx.system.cpu.check_threads` rejects the number.
    """
    check_threads(threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or min(before, available_cores()))
    token = _THREADS.set(threads)
    try:
        yield
    finally:
        _THREADS.reset(token)
        torch.set_num_threads(before)


def open_model(model: onnx.ModelProto) -> InferenceSession:
    """Returns a session on the CPU whose idle threads sleep, so that their cores are free for others."""
    return open_session(model.SerializeToString(), threads=_THREADS.get(), spinning=False)
