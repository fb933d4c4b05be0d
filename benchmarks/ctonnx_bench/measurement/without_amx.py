"""Runs a command as on an x86 processor without AMX, for example to measure models exported for AMX there.

    python -m ctonnx_bench.measurement.without_amx ctonnx bench X86.onnx AMX.onnx

A process on Linux must request AMX's registers from the kernel, and computes without AMX if the request fails. A filter
of system calls makes the request fail in the command and its children.

Sources: Linux's Documentation/arch/x86/xstate.rst and Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import os
import struct
import sys

import click

__all__ = ["WITHOUT_AMX", "disable_amx", "main"]

WITHOUT_AMX = "CTONNX_BENCH_WITHOUT_AMX"
"""Environment variable that removes AMX from the processor's features in the command's reports."""

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # instructions of the filter's language, BPF
_NUMBER, _FIRST_ARGUMENT = 0, 16  # offsets in a system call's data
_ARCH_PRCTL, _REQUEST = 158, 0x1023  # x86-64's arch_prctl, and its ARCH_REQ_XCOMP_PERM
_DENY, _ALLOW = 0x0005_0001, 0x7FFF_0000  # deny with EPERM


class _Program(ctypes.Structure):
    """Linux's `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def disable_amx() -> None:
    """Disables AMX permanently for this process and its children.

    Raises:
        ClickException: If this is not Linux on x86-64, or filters are not allowed.
    """
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise click.ClickException(f"expected Linux on x86-64, found {sys.platform} on {os.uname().machine}")
    code = [
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 0, 3, _ARCH_PRCTL),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, _REQUEST),
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = _Program(len(code), b"".join(struct.pack("HBBI", *instruction) for instruction in code))
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if failed or libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise click.ClickException(
            f"expected the system to allow a filter of system calls: {os.strerror(ctypes.get_errno())}"
        )


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def main(command: tuple[str, ...]) -> None:
    """Run COMMAND as on a processor without AMX.

    \b
    Example:
      python -m ctonnx_bench.measurement.without_amx ctonnx bench runs/lungs runs/lungs/amx
    """
    disable_amx()
    os.environ[WITHOUT_AMX] = "1"
    try:
        os.execvp(command[0], command)  # noqa: S606  # the user's own command

    except OSError as error:
        raise click.ClickException(
            f"expected a command that can be run, found '{command[0]}': {error.strerror}"
        ) from error


if __name__ == "__main__":
    main()
