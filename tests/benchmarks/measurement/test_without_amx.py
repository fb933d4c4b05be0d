"""A command without AMX, with all other system calls allowed."""

import errno
import os
import subprocess
import sys

import click
import pytest

from ctonnx_bench.measurement.without_amx import WITHOUT_AMX, disable_amx

REQUEST = (
    "import ctypes, os, subprocess, sys\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "print(libc.syscall(158, int(sys.argv[1], 16), int(sys.argv[2])), ctypes.get_errno(), flush=True)\n"
)
LINUX = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="AMX is requested on Linux with x86-64"
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ctonnx_bench.measurement.without_amx", *command],
        capture_output=True,
        text=True,
        check=False,
    )


@LINUX
def test_only_the_request_for_amx_is_denied() -> None:
    denied = run(sys.executable, "-c", REQUEST, "1023", "18")  # ARCH_REQ_XCOMP_PERM, of the tiles' data
    assert (denied.returncode, denied.stdout) == (0, f"-1 {errno.EPERM}\n")
    environment = run(sys.executable, "-c", f"import os; print(os.environ['{WITHOUT_AMX}'])")
    assert environment.stdout == "1\n"
    other = run(sys.executable, "-c", REQUEST, "9999", "0")  # unknown to the kernel
    assert other.stdout == f"-1 {errno.EINVAL}\n"


@LINUX
def test_exit_code_is_the_commands_and_a_missing_command_is_reported() -> None:
    assert run(sys.executable, "-c", "raise SystemExit(7)").returncode == 7
    missing = run("no-such-command")
    assert missing.returncode == 1
    assert missing.stderr == (
        "Error: expected a command that can be run, found 'no-such-command': No such file or directory\n"
    )


def test_other_systems_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(click.ClickException, match=r"^expected Linux on x86-64, found darwin on "):
        disable_amx()
