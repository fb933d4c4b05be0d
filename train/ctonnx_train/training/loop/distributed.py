"""Processes of a distributed training; also usable in a single process, the common case."""

import os
from typing import Any

import torch
from torch import distributed, nn

from ctonnx.errors import DataError
from ctonnx_train.training.recipe import launched_processes

__all__ = ["gather", "is_main_process", "lost_process", "require_processes", "share_buffers"]


def require_processes(devices: int, nodes: int) -> None:
    """Raises DataError if a launcher started other processes than `devices` on each of `nodes` machines.

    Each of them would train a network of its own, and all would write the same files.
    """
    launched = launched_processes()
    if launched is not None and launched != (devices, nodes):
        raise DataError(
            f"expected the processes that were launched: --devices {launched[0]} --nodes {launched[1]}, found "
            f"--devices {devices} --nodes {nodes}; launch as many, with torchrun or srun"
        )


def lost_process(error: BaseException) -> bool:
    """Returns whether an error, or its cause, shows that another process of the training is gone.

    gloo has no class of its own for it.
    """
    found: BaseException | None = error
    seen: list[BaseException] = []
    while found is not None and found not in seen:
        if isinstance(found, distributed.DistError) or (isinstance(found, RuntimeError) and "gloo" in str(found)):
            return True
        seen.append(found)
        found = found.__cause__ or found.__context__
    return False


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
