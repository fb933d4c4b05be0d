"""Wait policy and core affinity of OpenMP threads: passive and pinned, unless the environment has its own settings."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctonnx_train.network import openmp
from ctonnx_train.network.openmp import load_pytorch, use_passive_waiting

COMMANDS = {
    "train": ["train", "phantoms", "--epochs", "1"],
    "evaluate": ["evaluate", "runs/none", "phantoms"],
    "export": ["export", "runs/none"],
}


def test_idle_threads_sleep_by_default() -> None:
    environ = {"OMP_NUM_THREADS": "2"}
    assert use_passive_waiting(environ)
    assert environ == {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "100"), ("KMP_BLOCKTIME", "200"), ("KMP_LIBRARY", "turnaround")],
)
def test_wait_policy_of_the_environment_is_kept(name: str, value: str) -> None:
    environ = {name: value}
    assert not use_passive_waiting(environ)
    assert environ == {name: value}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_sets_the_policy_before_pytorch_is_imported(command: str, tmp_path: Path) -> None:
    """A stub module instead of PyTorch prints the policy and ends the command."""
    for module in ("torch", "lightning"):
        (tmp_path / f"{module}.py").write_text(
            "import os\nprint(os.environ.get('OMP_WAIT_POLICY'), flush=True)\nos._exit(0)\n", encoding="utf-8"
        )
    for name in ("train", "valid"):
        for kind in ("normal", "benign"):
            (tmp_path / "phantoms" / name / kind).mkdir(parents=True)
            (tmp_path / "phantoms" / name / kind / "a.png").write_bytes(b"")
    (tmp_path / "runs/none").mkdir(parents=True)
    for file in ("model.safetensors", "run.json"):
        (tmp_path / "runs/none" / file).write_text("{}", encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "ctonnx", *COMMANDS[command]],
        cwd=tmp_path,
        env={**environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "PASSIVE\n", done.stderr


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with four cores of two hardware threads each, in a process without PyTorch."""
    for name in openmp._AFFINITY_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")

    def of(allowed: set[int], cores: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: allowed, raising=False)
        monkeypatch.setattr(openmp, "available_cores", lambda: cores)
        monkeypatch.setattr(openmp, "_siblings", lambda number: frozenset({number % 4, number % 4 + 4}))

    return of


@pytest.mark.parametrize(
    ("allowed", "cores", "threads", "expected"),
    [
        (set(range(8)), 8, None, [{0, 4}, {1, 5}, {2, 6}, {3, 7}]),
        (set(range(8)), 8, 4, [{0, 4}, {1, 5}, {2, 6}, {3, 7}]),
        ({1, 2, 6}, 3, None, [{1}, {2, 6}]),
        (set(range(8)), 8, 3, []),  # the scheduler finds free cores
        (set(range(8)), 2, None, []),  # a container's CPU limit: others share the cores
        ({0, 4}, 2, None, []),
    ],
)
def test_threads_are_pinned_if_they_have_all_cores(
    allowed: set[int], cores: int, threads: int | None, expected: list[set[int]], machine: Callable[..., None]
) -> None:
    machine(allowed, cores)
    assert openmp._cores_for(threads) == expected


@pytest.mark.parametrize("name", openmp._AFFINITY_SETTINGS)
def test_threads_are_not_pinned_if_the_environment_has_affinity_settings(
    name: str, machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine({0, 1}, 2)
    assert openmp._cores_for(None)
    monkeypatch.setenv(name, "1")
    assert openmp._cores_for(None) == []


@pytest.mark.parametrize(
    ("settings", "environ", "found"),
    [
        ({}, {}, ["close", "{0},{1}", None]),
        ({"threads": 2}, {}, ["close", "{0},{1}", None]),
        ({"threads": 1}, {}, [None, None, None]),
        ({"processes": 2}, {}, [None, None, None]),
        ({"compiles": True}, {}, [None, None, None]),
        ({}, {"OMP_PLACES": "cores"}, [None, "cores", None]),
        ({}, {"OMP_NUM_THREADS": "2"}, [None, None, "2"]),
        ({}, {"LOCAL_RANK": "0"}, [None, None, None]),
    ],
)
def test_pytorch_is_imported_to_be_pinned_if_no_others_share_the_cores_and_the_user_has_no_other_settings(
    settings: dict[str, Any],
    environ: dict[str, str],
    found: list[str | None],
    machine: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stub module instead of PyTorch keeps the variables from which the OpenMP runtime takes the places."""
    machine({0, 1}, 2)
    monkeypatch.setattr(openmp, "_siblings", lambda number: frozenset({number}))
    monkeypatch.setattr(openmp, "_pinned", [])
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "torch.py").write_text(
        "import os\nfound = list(map(os.environ.get, ['OMP_PROC_BIND', 'OMP_PLACES', 'OMP_NUM_THREADS']))\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    load_pytorch(**settings)
    assert sys.modules["torch"].found == found
    assert openmp.pinned_cores() == (2 if found[0] else None)


def test_threads_are_not_pinned_once_pytorch_is_imported_or_on_another_system(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine({0, 1}, 2)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", sys)
        assert openmp._cores_for(None) == []
    monkeypatch.setattr(sys, "platform", "darwin")
    assert openmp._cores_for(None) == []


@pytest.mark.parametrize(
    ("text", "expected"), [("0,4\n", {0, 4}), ("4-6,9\n", {0, 4, 5, 6, 9}), ("", {0}), ("what is this", {0})]
)
def test_hardware_threads_of_a_core_are_read_from_the_system(text: str, expected: set[int], tmp_path: Path) -> None:
    file = tmp_path / "sys/devices/system/cpu/cpu0/topology/core_cpus_list"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="ascii")
    assert openmp._siblings(0, tmp_path) == expected
    assert openmp._siblings(1, tmp_path) == {1}


@pytest.mark.parametrize("spinning", [True, False])
def test_variables_are_set_only_while_pytorch_is_imported(
    spinning: bool, machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine({0, 1}, 2)
    monkeypatch.setattr(openmp, "_siblings", lambda number: frozenset({number}))
    monkeypatch.setattr(openmp, "_pinned", [])
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    freed: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: freed.append(set(cores)), raising=False)
    names = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_SPINCOUNT")
    with openmp._pinning_threads(spinning=spinning):
        assert [os.environ.get(name) for name in names] == ["close", "{0},{1}", "10000" if spinning else None]
    assert [os.environ.get(name) for name in names] == [None] * 3
    assert freed == [{0, 1}]
    assert openmp.pinned_cores() == 2
    with openmp.on_the_first_core():
        openmp.unpin_thread()
    assert freed[1:] == [{0}, {0, 1}, {0, 1}]
