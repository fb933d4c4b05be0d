"""Measured processes: from outside, with a time limit, and without leaving anything."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ctonnx_bench.measurement.processes import ProcessFailed, ProcessTimedOut, launch, time_in_turn

_WAITS = "import os, signal, sys; open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"


def test_process_is_measured_from_outside_and_without_the_memory_of_its_parent(tmp_path: Path) -> None:
    memory = bytearray(b"x") * 300_000_000
    small = launch([sys.executable, "-c", "import sys; print('a'); print('b', file=sys.stderr)"], tmp_path)
    assert (small.out, small.err) == ("a\n", "b\n")
    assert 0 < small.sample.seconds < 60
    assert small.sample.peak_bytes < 100_000_000 < len(memory)
    large = launch([sys.executable, "-c", "memory = bytearray(b'x') * 300_000_000"], tmp_path)
    assert 300_000_000 < large.sample.peak_bytes < 400_000_000


@pytest.mark.parametrize("is_written", [True, False])
def test_bytecode_is_stored_in_the_folder_if_python_does_not_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    """Otherwise each process would compile its libraries again."""
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "" if is_written else "1")
    code = "import sys; print(sys.dont_write_bytecode, sys.pycache_prefix)"
    kept = None if is_written else tmp_path / "bytecode"
    assert launch([sys.executable, "-c", code], tmp_path).out == f"False {kept}\n"


def test_commands_take_turns_after_a_round_that_is_not_counted(tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
    commands = {name: [sys.executable, "-c", code, str(tmp_path / "order"), name] for name in "ab"}
    samples = time_in_turn(commands, 2)
    assert {name: len(seconds) for name, seconds in samples.items()} == {"a": 2, "b": 2}
    assert (tmp_path / "order").read_text(encoding="utf-8") == "ababab"


def test_failed_process_is_an_error_with_its_stderr(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"ended with 3:\nno model"):
        launch([sys.executable, "-c", "import sys; print('no model', file=sys.stderr); sys.exit(3)"], tmp_path)


def test_process_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_WAITS!r}, sys.argv[1]])"
    with pytest.raises(ProcessTimedOut, match="it had not ended after 1 s"):
        launch([sys.executable, "-c", code, str(tmp_path / "pid")], tmp_path, 1.0)
    commands = psutil.process_iter(["cmdline"])
    assert [item for item in commands if str(tmp_path / "pid") in (item.info["cmdline"] or ())] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_to_this_process_alone_leaves_no_other(tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "pid")
    code = (
        "import sys; from pathlib import Path; from ctonnx_bench.measurement.processes import launch; "
        f"launch([sys.executable, '-c', {_WAITS!r}, sys.argv[1]], Path(sys.argv[2]))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "pid", tmp_path], stderr=subprocess.PIPE, text=True
    )
    with (tmp_path / "pid").open(encoding="ascii") as pipe:  # it waits for the child
        child = psutil.Process(int(pipe.read()))
    parent.send_signal(number)
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode != 0
    assert errors.count("Traceback") == (number == signal.SIGINT)  # Python's own of the parent, not of the launcher
    assert psutil.wait_procs([child], timeout=60)[1] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_to_the_command_alone_leaves_neither_its_worker_nor_its_folder(
    workspace: Path, number: signal.Signals, code: int
) -> None:
    temporary = workspace / "tmp"
    temporary.mkdir()
    options = ["--batch-size", "1", "--threads", "1", "--rounds", "1", "--duration", "600"]
    command = subprocess.Popen(
        [sys.executable, "-m", "ctonnx", "bench", *options],
        env=os.environ | {"TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stderr is not None
    for line in command.stderr:
        if line.startswith("[1/1]"):
            break
    until, children = time.monotonic() + 60, list[psutil.Process]()
    while len(children) < 2 and time.monotonic() < until:  # the launcher and the worker
        children = psutil.Process(command.pid).children(recursive=True)
    command.send_signal(number)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == code
    assert errors == "\nctonnx: stopped\n"
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert list(temporary.iterdir()) == []
