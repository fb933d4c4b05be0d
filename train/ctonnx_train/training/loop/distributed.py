"""Processes of a distributed training; also usable in a single process, the common case."""

import os
from typing import Any

import torch
from torch import distributed, nn

__all__ = ["gather", "is_main_process", "share_buffers"]


def is_main_process() -> bool:
    """Returns whether this process writes the files and reports to the user.

    The environment variables of the launcher (Lightning's own, torchrun, SLURM) identify the process before the process
    group exists.
    """
    if rank := os.environ.get("RANK") or os.environ.get("SLURM_PROCID"):
        return rank == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def gather(value: Any) -> list[Any]:
    """Returns the values of all processes, in the order of their ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    if torch.cuda.is_available() and distributed.get_backend() == "nccl":
        torch.cuda.set_device(torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))))
    distributed.all_gather_object(values, value)
    return values


def share_buffers(module: nn.Module) -> None:
    """Copies the buffers of the first process, such as running statistics, to all processes."""
    if distributed.is_available() and distributed.is_initialized():
        for buffer in module.buffers():
            distributed.broadcast(buffer, 0)
