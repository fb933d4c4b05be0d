"""PyTorch imported by `load_pytorch`: idle threads sleep, and threads are pinned if no others share the cores."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, sys
from ctonnx_train.network.openmp import load_pytorch, on_the_first_core, pinned_cores
load_pytorch(**json.loads(sys.argv[1]))
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


def affinity(settings: dict[str, object], **environ: str) -> list[object]:
    """Returns the cores and variables that a process reports after importing PyTorch with these settings."""
    names = ("OMP_", "KMP_", "GOMP_", "MKL_", "RANK", "LOCAL_RANK", "SLURM_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(settings)],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[object] = json.loads(done.stdout)
    return found


def test_each_thread_has_a_core_while_computing_and_the_main_thread_all_cores_otherwise() -> None:
    first, second = sorted(os.sched_getaffinity(0))
    cores, count, threads, before, after, environ = affinity({})
    assert (cores, count) == (2, 2)
    assert isinstance(threads, list)
    # The threads of NumPy's library are not pinned.
    assert [thread for thread in threads if len(thread) == 1] == [[first], [second]]
    assert before == after == [first, second]
    assert isinstance(environ, dict)
    assert environ["OMP_WAIT_POLICY"] == "PASSIVE"
    # Other processes and libraries would use these.
    assert not {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_SPINCOUNT"} & environ.keys()


@pytest.mark.parametrize(
    ("settings", "environ"),
    [
        ({"threads": 1}, {}),
        ({"processes": 2}, {}),
        ({"compiles": True}, {}),
        ({}, {"OMP_PLACES": "cores"}),
        ({}, {"OMP_NUM_THREADS": "2"}),
        ({}, {"LOCAL_RANK": "0"}),
    ],
)
def test_threads_are_not_pinned_if_others_share_the_cores_or_the_user_has_other_settings(
    settings: dict[str, object], environ: dict[str, str]
) -> None:
    cores, _, threads, before, after, _ = affinity(settings, **environ)
    assert cores is None
    assert before == after
    if "OMP_PLACES" not in environ:
        assert isinstance(threads, list)
        assert {tuple(thread) for thread in threads} == {tuple(sorted(os.sched_getaffinity(0)))}
