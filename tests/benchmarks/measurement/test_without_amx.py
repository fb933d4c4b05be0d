"""A command that is kept from AMX, and all else that it may do as before."""

import errno
import os
import subprocess
import sys

import click
import pytest

from ctonnx_bench.measurement.without_amx import REFUSED, refuse_amx

ASK = (
    "import ctypes, os, subprocess, sys\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "print(libc.syscall(158, int(sys.argv[1], 16), int(sys.argv[2])), ctypes.get_errno(), flush=True)\n"
)
LINUX = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="AMX is asked for on Linux with x86-64"
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ctonnx_bench.measurement.without_amx", *command],
        capture_output=True,
        text=True,
        check=False,
    )


@LINUX
def test_command_is_refused_amx_and_no_other_call() -> None:
    asked = run(sys.executable, "-c", ASK, "1023", "18")  # ARCH_REQ_XCOMP_PERM, of the tiles' data
    assert (asked.returncode, asked.stdout) == (0, f"-1 {errno.EPERM}\n")
    told = run(sys.executable, "-c", f"import os; print(os.environ['{REFUSED}'])")
    assert told.stdout == "1\n"
    other = run(sys.executable, "-c", ASK, "9999", "0")  # which the kernel does not know
    assert other.stdout == f"-1 {errno.EINVAL}\n"


@LINUX
def test_exit_code_is_the_commands_and_a_missing_command_is_told() -> None:
    assert run(sys.executable, "-c", "raise SystemExit(7)").returncode == 7
    missing = run("no-such-command")
    assert missing.returncode == 1
    assert missing.stderr == (
        "Error: expected a command that can be run, found 'no-such-command': No such file or directory\n"
    )


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(click.ClickException, match=r"^expected Linux on x86-64, found darwin on "):
        refuse_amx()
