"""Loads PyTorch for a training, so that its threads get on with other processes on the machine."""

from contextlib import nullcontext

from ctonnx_train.network.openmp import keeping_threads_apart, let_waiting_threads_sleep

__all__ = ["load_pytorch"]


def load_pytorch(*, threads: int | None = None, processes: int = 1, compiles: bool = False) -> None:
    """Loads PyTorch, whose OpenMP threads learn only then how they are to share the cores with other processes.

    Where PyTorch is loaded already, nothing changes.

    Args:
        threads: that were asked for; None is one a core.
        processes: of the training; several would all be put on the first cores.
        compiles: Whether `torch.compile` is used: what it starts would be kept on the first core.
    """
    is_ours = let_waiting_threads_sleep()
    with keeping_threads_apart(threads, spinning=is_ours) if processes == 1 and not compiles else nullcontext():
        import torch  # noqa: F401
