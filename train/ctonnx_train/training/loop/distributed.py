"""Which of the training's processes this one is, and what all of them saw: one process is the common case."""

import os
from typing import Any

import torch
from torch import distributed, nn

__all__ = ["gather", "is_main_process", "share_buffers"]


def is_main_process() -> bool:
    """Says whether this process writes the files and speaks to the user.

    A launcher (Lightning's own, torchrun, SLURM) tells its processes by environment variables, so that this is known
    before they are joined.
    """
    if rank := os.environ.get("RANK") or os.environ.get("SLURM_PROCID"):
        return rank == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def gather(value: Any) -> list[Any]:
    """Returns the values of all processes, in the order of their ranks; of this one alone where there is one."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    if torch.cuda.is_available() and distributed.get_backend() == "nccl":
        torch.cuda.set_device(torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))))
    distributed.all_gather_object(values, value)
    return values


def share_buffers(module: nn.Module) -> None:
    """Gives all processes the first one's buffers, such as running statistics, which each has of its own images."""
    if distributed.is_available() and distributed.is_initialized():
        for buffer in module.buffers():
            distributed.broadcast(buffer, 0)
