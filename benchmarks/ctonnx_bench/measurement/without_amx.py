"""Runs a command as on an x86 without AMX, such as one that measures there what was exported for AMX.

    python -m ctonnx_bench.measurement.without_amx ctonnx bench X86.onnx AMX.onnx

A process on Linux has to ask the kernel for AMX's registers, and does without AMX where it does not get them. A filter
refuses them to the command and to all that it starts.

Sources: Linux's Documentation/arch/x86/xstate.rst and Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import os
import struct
import sys

import click

__all__ = ["REFUSED", "main", "refuse_amx"]

REFUSED = "CTONNX_BENCH_WITHOUT_AMX"
"""The variable by which the command's reports know of it: the processor's features in them are without AMX."""

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of the filter's language, BPF
_NUMBER, _FIRST_ARGUMENT = 0, 16  # where in a system call's data they stand
_ARCH_PRCTL, _REQUEST = 158, 0x1023  # x86-64's arch_prctl, and its ARCH_REQ_XCOMP_PERM
_REFUSE, _ALLOW = 0x0005_0001, 0x7FFF_0000  # with EPERM


class _Program(ctypes.Structure):
    """Linux's `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_amx() -> None:
    """Keeps this process, and all that it starts, from AMX, for good.

    Raises:
        ClickException: This is no Linux on x86-64, or it allows no filters.
    """
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise click.ClickException(f"expected Linux on x86-64, found {sys.platform} on {os.uname().machine}")
    code = [
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 0, 3, _ARCH_PRCTL),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, _REQUEST),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = _Program(len(code), b"".join(struct.pack("HBBI", *instruction) for instruction in code))
    libc = ctypes.CDLL(None, use_errno=True)
    refused = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if refused or libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
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
    refuse_amx()
    os.environ[REFUSED] = "1"
    try:
        os.execvp(command[0], command)  # noqa: S606  # what the user asked for, as it is
    except OSError as error:
        raise click.ClickException(
            f"expected a command that can be run, found '{command[0]}': {error.strerror}"
        ) from error


if __name__ == "__main__":
    main()
