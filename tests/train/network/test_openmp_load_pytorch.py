"""PyTorch imported by `load_pytorch` in a process that has the cores: idle threads sleep, and threads are pinned."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os
from ctonnx_train.network.openmp import load_pytorch, on_the_first_core, pinned_cores
load_pytorch()
from ctonnx_train.network.threads import computing_threads
import torch
free = os.sched_getaffinity(0)
with computing_threads(None), on_the_first_core():
    torch.ones(1_000_000).sum()
    threads = sorted(sorted(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task"))
    count = torch.get_num_threads()
print(json.dumps([pinned_cores(), count, threads, sorted(free), sorted(os.sched_getaffinity(0)), dict(os.environ)]))
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) != 2, reason="this machine has another number of cores"
)


def affinity() -> list[object]:
    """Returns the cores and variables that a process reports after importing PyTorch."""
    names = ("OMP_", "KMP_", "GOMP_", "MKL_", "RANK", "LOCAL_RANK", "SLURM_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[object] = json.loads(done.stdout)
    return found


def test_each_thread_has_a_core_while_computing_and_the_main_thread_all_cores_otherwise() -> None:
    first, second = sorted(os.sched_getaffinity(0))
    cores, count, threads, before, after, environ = affinity()
    assert (cores, count) == (2, 2)
    assert isinstance(threads, list)
    # The threads of NumPy's library are not pinned.
    assert [thread for thread in threads if len(thread) == 1] == [[first], [second]]
    assert before == after == [first, second]
    assert isinstance(environ, dict)
    assert environ["OMP_WAIT_POLICY"] == "PASSIVE"
    # Other processes and libraries would use these.
    assert not {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_SPINCOUNT"} & environ.keys()
