"""How OpenMP's threads, with which PyTorch computes, get on with other processes: asleep where they wait, and apart."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ctonnx.system.cpu import available_cores

__all__ = ["cores_apart", "keeping_threads_apart", "let_waiting_threads_sleep", "on_any_core", "on_the_first_core"]

_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_BRIEFLY = {"GOMP_SPINCOUNT": "10000"}  # goes before OMP_WAIT_POLICY
_OTHER_CHOICES = ("GOMP_SPINCOUNT", "KMP_LIBRARY")
_CHOSEN_CORES = (
    *("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    *("RANK", "LOCAL_RANK", "SLURM_PROCID"),  # one of several processes, which would all be put on the first cores
)
_ROOT = Path("/")


@dataclass(frozen=True)
class _Apart:
    """Where threads are kept: the first core, how many there are, and where this process may run."""

    first: frozenset[int]
    cores: int
    allowed: frozenset[int]


_apart: list[_Apart] = []  # none, or one: a process loads its OpenMP runtime once


def let_waiting_threads_sleep(environ: MutableMapping[str, str] = os.environ) -> bool:
    """Has OpenMP's threads sleep where they wait, unless the environment says how they are to wait.

    By default a thread that waits goes on looking for work and keeps its core. Where another process has a core, the
    one thread that everybody waits for may have to wait for that core in turn, at each of the thousands of places in a
    training step where threads meet: an epoch takes many times as long (`python -m
    ctonnx_bench.experiments.throughput.busy_core`). A thread that sleeps leaves its core to the one that has work.

    The runtime reads this when it is loaded: it has to be called before `import torch`, and changes nothing after.
    PyTorch's wheels carry libgomp on Linux, Intel's runtime on Windows and LLVM's on macOS; the last two have a
    variable of their own.

    Sources: https://gcc.gnu.org/onlinedocs/libgomp/OMP_005fWAIT_005fPOLICY.html,
    https://openmp.llvm.org/design/Runtimes.html (`KMP_BLOCKTIME`).

    Args:
        environ: of this process, and so of those that it starts.

    Returns:
        False where the environment had said already how they are to wait.
    """
    if any(name in environ for name in (*_ASLEEP, *_OTHER_CHOICES)):
        return False
    environ.update(_ASLEEP)
    return True


@contextmanager
def keeping_threads_apart(threads: int | None = None, *, spinning: bool = False) -> Iterator[None]:
    """Has the OpenMP runtime that is loaded meanwhile keep each of its threads on a core of its own.

    Beside a busy process the system would put two threads on one core now and then, and each would wait for the other's
    turn. Apart, they lose what the other process takes of its core. Only where the threads are to have every core that
    this process may use, and nobody chose otherwise: processes with fewer threads would all be put on the first cores,
    as would those of containers whose limit of CPU time is less than the machine's cores.

    The runtime also binds the thread that loads it, and so all that this one starts: that is undone at the end. What is
    set in the environment is removed, as other runtimes and processes must not follow it.

    Source: https://www.openmp.org/spec-html/5.0/openmpse53.html (`OMP_PLACES`).

    Args:
        threads: that were asked for; None is one a core.
        spinning: Whether they look for work for less than a millisecond before they sleep, which is faster for threads
            that are kept apart.
    """
    cores = _cores_for(threads)
    if not cores:
        yield
        return
    allowed = os.sched_getaffinity(0)
    places = ",".join("{" + ",".join(map(str, sorted(core))) + "}" for core in cores)
    chosen = {"OMP_PROC_BIND": "close", "OMP_PLACES": places, **(_BRIEFLY if spinning else {})}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            os.environ.pop(name, None)
        os.sched_setaffinity(0, allowed)
    _apart.append(_Apart(cores[0], len(cores), frozenset(allowed)))


def cores_apart() -> int | None:
    """Returns on how many cores OpenMP's threads are kept, or None where they are not."""
    return _apart[-1].cores if _apart else None


@contextmanager
def on_the_first_core() -> Iterator[None]:
    """Keeps this thread, which computes with the others, on the core that they leave to it; where they are kept."""
    if not _apart:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _apart[-1].first)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def on_any_core(*arguments: object) -> None:
    """Lets this thread run on every core again, as a process must that was started by one that was kept on a core."""
    if _apart:
        os.sched_setaffinity(0, _apart[-1].allowed)


def _cores_for(threads: int | None) -> list[frozenset[int]]:
    """Returns the cores, each with the numbers of its hardware threads, to keep threads on; none where that is wrong.

    Source: https://docs.kernel.org/admin-guide/cputopology.html (`core_cpus_list`).
    """
    if sys.platform != "linux" or "torch" in sys.modules or any(name in os.environ for name in _CHOSEN_CORES):
        return []
    allowed = os.sched_getaffinity(0)
    if available_cores() < len(allowed):
        return []
    cores = dict.fromkeys(_siblings(number) & allowed for number in sorted(allowed))
    return list(cores) if threads in (None, len(cores)) and len(cores) > 1 else []


def _siblings(number: int, root: Path = _ROOT) -> frozenset[int]:
    """Returns the hardware threads of the core that one belongs to."""
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
