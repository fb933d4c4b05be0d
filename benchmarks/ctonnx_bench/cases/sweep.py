"""Cases of a sweep over threads, workers, batch sizes and spinning."""

from collections.abc import Sequence

from ctonnx_bench.cases.case import Case
from ctonnx_bench.cases.contenders import Contender

__all__ = ["plan_sweep", "thread_counts"]

_MOST_WORKERS = 8  # as `ctonnx.prediction.streaming.workers_for`


def thread_counts(cores: int) -> list[int]:
    """Returns the powers of two below the number of cores, and the number itself.

    >>> thread_counts(6)
    [1, 2, 4, 6]
    """
    return [*(count for count in (2**power for power in range(cores.bit_length())) if count < cores), cores]


def plan_sweep(contenders: Sequence[Contender], batch_sizes: Sequence[int], *, provider: str, cores: int) -> list[Case]:
    """Returns the cases: one worker with every thread count, spinning or not, and on a CPU a worker for each thread.

    The batch sizes are those of one worker.
    """
    return [
        Case(contender, size * workers, provider, threads, spinning=spinning, workers=workers, swept=True)
        for contender in contenders
        for size in batch_sizes
        for threads in thread_counts(cores)
        for workers in ([1, threads] if provider == "cpu" and 1 < threads <= _MOST_WORKERS else [1])
        for spinning in ([True, False] if threads // workers > 1 else [True])
    ]
