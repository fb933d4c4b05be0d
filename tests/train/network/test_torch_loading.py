"""A training's OpenMP threads sleep where they wait, and are kept apart where they have the machine for themselves."""

import json
import os
import subprocess
import sys

import pytest

TELL = """
import json, os, sys
from ctonnx_train.network.torch_loading import load_pytorch
load_pytorch(**json.loads(sys.argv[1]))
from ctonnx_train.network.openmp import cores_apart, on_the_first_core
from ctonnx_train.network.threads import computing_threads
import torch
free = os.sched_getaffinity(0)
with computing_threads(None), on_the_first_core():
    torch.ones(1_000_000).sum()
    threads = sorted(sorted(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task"))
    count = torch.get_num_threads()
print(json.dumps([cores_apart(), count, threads, sorted(free), sorted(os.sched_getaffinity(0)), dict(os.environ)]))
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) != 2, reason="this machine has another number of cores"
)


def told(settings: dict[str, object], **environ: str) -> list[object]:
    """Returns what a process tells that loads PyTorch with these settings."""
    names = ("OMP_", "KMP_", "GOMP_", "MKL_", "RANK", "LOCAL_RANK", "SLURM_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-c", TELL, json.dumps(settings)],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[object] = json.loads(done.stdout)
    return found


def test_each_thread_has_a_core_while_it_computes_and_the_first_one_all_of_them_otherwise() -> None:
    first, second = sorted(os.sched_getaffinity(0))
    cores, count, threads, before, after, environ = told({})
    assert (cores, count) == (2, 2)
    assert isinstance(threads, list)
    # Those of NumPy's library have no core of their own.
    assert [thread for thread in threads if len(thread) == 1] == [[first], [second]]
    assert before == after == [first, second]
    assert isinstance(environ, dict)
    assert environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert (
        not {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_SPINCOUNT"} & environ.keys()
    )  # which processes and libraries that come would follow


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
def test_threads_are_not_kept_apart_where_others_share_the_cores_or_the_user_chose(
    settings: dict[str, object], environ: dict[str, str]
) -> None:
    cores, _, threads, before, after, _ = told(settings, **environ)
    assert cores is None
    assert before == after
    if "OMP_PLACES" not in environ:
        assert isinstance(threads, list)
        assert {tuple(thread) for thread in threads} == {tuple(sorted(os.sched_getaffinity(0)))}
