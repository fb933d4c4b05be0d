"""Number of PyTorch threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ctonnx.system.cpu import available_cores, check_threads
from ctonnx_train.network.openmp import pinned_cores

__all__ = ["computing_threads"]

_VARIABLE = "OMP_NUM_THREADS"


@contextmanager
def computing_threads(threads: int | None) -> Iterator[None]:
    """Sets the number of PyTorch threads within the block, in this process and in those that training starts.

    None is PyTorch's default, limited to the available cores, as PyTorch does not know a container's CPU limit.

    Raises:
        ValueError: `ctonnx.system.cpu.check_threads` rejects the number.
    """
    check_threads(threads)
    before, named = torch.get_num_threads(), os.environ.get(_VARIABLE)
    torch.set_num_threads(threads or pinned_cores() or min(before, available_cores()))
    if threads is not None:
        os.environ[_VARIABLE] = str(threads)  # else Lightning sets it for training in several processes
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if named is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = named
