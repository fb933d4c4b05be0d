"""Wait policy and core affinity of PyTorch's OpenMP threads, so that they share a machine with other processes."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ctonnx.system.cpu import available_cores

__all__ = ["load_pytorch", "on_the_first_core", "pinned_cores", "unpin_thread", "use_passive_waiting"]

_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
# Overrides OMP_WAIT_POLICY: threads spin for less than a millisecond before they sleep, which is faster if pinned.
_SHORT_SPIN = {"GOMP_SPINCOUNT": "10000"}
_OTHER_WAIT_SETTINGS = ("GOMP_SPINCOUNT", "KMP_LIBRARY")
_AFFINITY_SETTINGS = (
    *("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    *("RANK", "LOCAL_RANK", "SLURM_PROCID"),  # one of several processes, which would all be pinned to the first cores
)
_ROOT = Path("/")


@dataclass(frozen=True)
class _Pinning:
    """Core of the main thread, number of cores, and hardware threads available to this process."""

    first: frozenset[int]
    cores: int
    allowed: frozenset[int]


_pinned: list[_Pinning] = []  # at most one: a process loads its OpenMP runtime once


def load_pytorch(*, threads: int | None = None, processes: int = 1, compiles: bool = False) -> None:
    """Imports PyTorch with passive waiting and, if the process has the machine to itself, one core per OpenMP thread.

    If PyTorch is imported already, nothing changes.

    Args:
        threads: Requested number of threads; None is one per core.
        processes: Number of training processes. Several would all be pinned to the first cores.
        compiles: Whether `torch.compile` is used; its worker processes would be pinned to the first core.
    """
    is_passive = use_passive_waiting()
    with _pinning_threads(threads, spinning=is_passive) if processes == 1 and not compiles else nullcontext():
        import torch  # noqa: F401


def use_passive_waiting(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Makes idle OpenMP threads sleep, and returns True; returns False if the environment has a wait policy.

    By default an idle thread spins and keeps its core. If another process uses a core, the one thread that all others
    wait for may have to wait for that core, at each of the thousands of barriers in a training step: an epoch takes
    many times as long (`python -m ctonnx_bench.experiments.throughput.busy_core`). A sleeping thread leaves its core to
    the one that has work.

    The OpenMP runtime reads these variables when it is loaded: call this before `import torch`; it has no effect after.
    PyTorch's wheels contain libgomp on Linux, Intel's runtime on Windows and LLVM's on macOS; the last two have a
    variable of their own.

    Sources: https://gcc.gnu.org/onlinedocs/libgomp/OMP_005fWAIT_005fPOLICY.html,
    https://openmp.llvm.org/design/Runtimes.html (`KMP_BLOCKTIME`).
    """
    if any(name in environ for name in (*_PASSIVE, *_OTHER_WAIT_SETTINGS)):
        return False
    environ.update(_PASSIVE)
    return True


@contextmanager
def _pinning_threads(threads: int | None = None, *, spinning: bool = False) -> Iterator[None]:
    """Makes the OpenMP runtime that is loaded within the block pin each of its threads to a core of its own.

    Next to a busy process the scheduler sometimes puts two threads on one core, and each waits for the other. Pinned
    threads lose only the time that the other process takes from their core. Threads are pinned only if they use all
    available cores and the environment has no affinity settings: processes with fewer threads would all be pinned to
    the first cores, and so would containers whose CPU limit is below the machine's number of cores.

    The runtime also pins the thread that loads it, and thereby every process started from it: this is undone at the end
    of the block. The variables are removed, because other runtimes and processes must not use them.

    Source: https://www.openmp.org/spec-html/5.0/openmpse53.html (`OMP_PLACES`).
    """
    cores = _cores_for(threads)
    if not cores:
        yield
        return
    allowed = os.sched_getaffinity(0)
    places = ",".join("{" + ",".join(map(str, sorted(core))) + "}" for core in cores)
    chosen = {"OMP_PROC_BIND": "close", "OMP_PLACES": places, **(_SHORT_SPIN if spinning else {})}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            os.environ.pop(name, None)
        os.sched_setaffinity(0, allowed)
    _pinned.append(_Pinning(cores[0], len(cores), frozenset(allowed)))


def pinned_cores() -> int | None:
    """Returns the number of cores that OpenMP's threads are pinned to, or None if they are not pinned."""
    return _pinned[-1].cores if _pinned else None


@contextmanager
def on_the_first_core() -> Iterator[None]:
    """Pins this thread, which computes too, to the core that the pinned OpenMP threads leave free."""
    with ExitStack() as stack:
        if _pinned:
            stack.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
            os.sched_setaffinity(0, _pinned[-1].first)
        yield


def unpin_thread(*arguments: object) -> None:
    """Allows this thread all cores again; needed in a process that a pinned thread started."""
    if _pinned:
        os.sched_setaffinity(0, _pinned[-1].allowed)


def _cores_for(threads: int | None) -> list[frozenset[int]]:
    """Returns the cores to pin threads to, each with its hardware threads; empty if threads should not be pinned.

    Source: https://docs.kernel.org/admin-guide/cputopology.html (`core_cpus_list`).
    """
    if sys.platform != "linux" or "torch" in sys.modules or any(name in os.environ for name in _AFFINITY_SETTINGS):
        return []
    allowed = os.sched_getaffinity(0)
    if available_cores() < len(allowed):
        return []
    cores = dict.fromkeys(_siblings(number) & allowed for number in sorted(allowed))
    return list(cores) if threads in (None, len(cores)) and len(cores) > 1 else []


def _siblings(number: int, root: Path = _ROOT) -> frozenset[int]:
    """Returns the hardware threads of the core that a hardware thread belongs to."""
    try:
        text = (root / f"sys/devices/system/cpu/cpu{number}/topology/core_cpus_list").read_text(encoding="ascii")
    except OSError:
        return frozenset([number])
    found = {number}
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)
