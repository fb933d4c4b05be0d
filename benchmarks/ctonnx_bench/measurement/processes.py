"""A process of its own, measured from outside, of which nothing is left when it ends or who started it does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click

__all__ = ["Measured", "ProcessFailed", "Sample", "launch"]

_KILLED = "it was killed, as the system does where memory runs out"
_GONE_S = 2.0  # that a killed process may take to be gone

# A process of its own, because a child's peak memory begins with that of the program that started it. Perf counters of
# two processes count from the same moment. Where whoever started this is killed, the system tells it so
# (PR_SET_PDEATHSIG, https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html), and all of its group ends.
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
    """A process that was measured failed, or did not end in time."""


@dataclass(frozen=True)
class Sample:
    """One process: its wall seconds, and its greatest resident memory in bytes."""

    seconds: float
    peak_bytes: int


class Measured(NamedTuple):
    """A finished process: its sample, when it was started (by `time.perf_counter`), and what it wrote."""

    sample: Sample
    start: float
    out: str
    err: str


def launch(command: Sequence[str], folder: Path, limit_s: float | None = None) -> Measured:
    """Runs a command in `folder`, and measures it from outside.

    Where Python is told to write no bytecode, what the command compiles is kept in `folder`: of torch's cold start the
    imports would else take twice as long as after an installation that compiles.

    It runs in a session of its own: Ctrl-C comes to this process alone, which ends it and all that it started.

    Args:
        command: The program's path, and its arguments.
        folder: to run in.
        limit_s: Seconds after which it is ended; None waits for ever.

    Raises:
        ProcessFailed: it failed, or took longer.
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
        told, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"{' '.join(command)} was stopped:\nit had not ended after {limit_s:g} s") from None
    finally:
        _end(process)
    if process.returncode:
        raise ProcessFailed(f"{' '.join(command)} could not be started:\nits launcher ended with {process.returncode}")
    start, end, code, peak = json.loads(told)
    said = err.read_text(encoding="utf-8", errors="replace")
    if code:
        why = said.strip()[-2000:] or (_KILLED if code == -signal.SIGKILL else f"it said nothing; is '{folder}' full?")
        raise ProcessFailed(f"{' '.join(command)} ended with {code}:\n{why}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Measured(Sample(end - start, peak * unit), start, out.read_text(encoding="utf-8"), said)


def _end(process: subprocess.Popen[str]) -> None:
    """Kills a launcher, its command and what that started, and waits until all are gone."""
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
