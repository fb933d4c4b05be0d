"""The sessions in which an export runs its models, and in how many threads they and PyTorch compute."""

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
    """Has PyTorch and the sessions that are opened meanwhile compute in so many threads.

    Args:
        threads: None takes every core that this process may use; of them, PyTorch as many as it takes by itself.

    Raises:
        ValueError: `ctonnx.system.cpu.check_threads` refuses the number.
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
    """Returns a session on the CPU; its threads soon sleep, so that they leave their cores to those that have work."""
    return open_session(model.SerializeToString(), threads=_THREADS.get(), spinning=False)
