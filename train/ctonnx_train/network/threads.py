"""In how many threads PyTorch computes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ctonnx.system.cpu import available_cores, check_threads
from ctonnx_train.network.openmp import cores_apart

__all__ = ["computing_threads"]

_VARIABLE = "OMP_NUM_THREADS"


@contextmanager
def computing_threads(threads: int | None) -> Iterator[None]:
    """Has PyTorch compute in so many threads meanwhile, in this process and in those that a training starts.

    Args:
        threads: in each process; None takes PyTorch's own number, and no more than the cores that this process may use:
            PyTorch does not know what a container's limit of CPU time allows.

    Raises:
        ValueError: `ctonnx.system.cpu.check_threads` refuses the number.
    """
    check_threads(threads)
    before, named = torch.get_num_threads(), os.environ.get(_VARIABLE)
    torch.set_num_threads(threads or cores_apart() or min(before, available_cores()))
    if threads is not None:
        os.environ[_VARIABLE] = str(threads)  # else Lightning chooses, where several processes train
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if named is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = named
