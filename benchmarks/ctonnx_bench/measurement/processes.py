"""Runs a command as a process that is measured from outside and never outlives this one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

__all__ = ["Measured", "ProcessFailed", "ProcessTimedOut", "Sample", "compiled_environ", "launch", "time_in_turn"]

Key = TypeVar("Key")

_KILLED = "it was killed, which the system does if memory runs out"
_GONE_S = 2.0  # maximum wait for a killed process group

# A separate process, because a child's peak memory begins with that of the program that started it. Perf counters of
# two processes have the same origin. If its parent is killed, the system sends it a signal
# (PR_SET_PDEATHSIG, https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html), and it kills its group.
_LAUNCHER = """
import json, os, signal, sys, time
def stop(*_):
    os.killpg(0, signal.SIGKILL)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (ImportError, OSError, AttributeError):
    pass
parent, out, err, *command = sys.argv[1:]
if os.getppid() != int(parent):
    stop()
how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
files = [(os.POSIX_SPAWN_OPEN, 1, out, how, 0o600), (os.POSIX_SPAWN_OPEN, 2, err, how, 0o600)]
start = time.perf_counter()
child = os.posix_spawn(command[0], command, os.environ, file_actions=files)
_, status, usage = os.wait4(child, 0)
print(json.dumps([start, time.perf_counter(), os.waitstatus_to_exitcode(status), usage.ru_maxrss]))
"""


class ProcessFailed(click.ClickException):
    """A measured process failed, or did not end in time."""


class ProcessTimedOut(ProcessFailed):
    """A measured process did not end in time, and was killed."""


@dataclass(frozen=True)
class Sample:
    """Wall time of one process in seconds, and its peak resident memory in bytes."""

    seconds: float
    peak_bytes: int


class Measured(NamedTuple):
    """Finished process: its sample, start (by `time.perf_counter`), stdout and stderr."""

    sample: Sample
    start: float
    out: str
    err: str


def launch(command: Sequence[str], folder: Path, limit_s: float | None = None) -> Measured:
    """Runs a command in a working folder, and measures it from outside; without a limit it may take any time.

    If PYTHONDONTWRITEBYTECODE is set, the command's bytecode is stored in `folder`: otherwise torch's imports would
    take twice as long as after an installation that compiles.

    The command runs in a new session: Ctrl-C reaches only this process, which then kills the session.

    Raises:
        ProcessFailed: If the command fails, or as `ProcessTimedOut` if it exceeds the limit.
    """
    out, err = folder / "stdout", folder / "stderr"
    environ = dict(os.environ)
    if environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(out), str(err), *command]
    process = subprocess.Popen(
        launcher,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        report, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise ProcessTimedOut(f"{' '.join(command)} was stopped:\nit had not ended after {limit_s:g} s") from None
    finally:
        _end(process)
    if process.returncode:
        raise ProcessFailed(f"{' '.join(command)} could not be started:\nits launcher ended with {process.returncode}")
    start, end, code, peak = json.loads(report)
    errors = err.read_text(encoding="utf-8", errors="replace")
    if code:
        silent = _KILLED if code == -signal.SIGKILL else f"without a message; is '{folder}' full?"
        raise ProcessFailed(f"{' '.join(command)} ended with {code}:\n{errors.strip()[-2000:] or silent}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Measured(Sample(end - start, peak * unit), start, out.read_text(encoding="utf-8"), errors)


def time_in_turn(commands: Mapping[Key, Sequence[str]], rounds: int) -> dict[Key, list[float]]:
    """Returns the wall seconds of each command's processes, run in turn after one round that is not counted."""
    samples: dict[Key, list[float]] = {key: [] for key in commands}
    for number in range(rounds + 1):
        for key, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=compiled_environ())
            if number:
                samples[key].append(time.perf_counter() - start)
    return samples


def compiled_environ() -> dict[str, str]:
    """Returns the environment of a process that writes bytecode, as an installation does, instead of recompiling."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _end(process: subprocess.Popen[str]) -> None:
    """Kills a launcher, its command and their children, and waits until all are gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    until = time.perf_counter() + _GONE_S
    with suppress(ProcessLookupError, PermissionError):
        while time.perf_counter() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.005)
