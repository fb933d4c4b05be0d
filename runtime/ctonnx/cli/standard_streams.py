"""Null devices for standard streams that are closed, as in a process of a Windows service, `pythonw` or a daemon.

Python represents a closed stream by None, and the next file that is opened gets its file descriptor: what a library
writes to "stderr" would get into that file. So the null device takes each free descriptor before a file is opened.
"""

import os
import sys

__all__ = ["open_missing_streams"]

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # in the order of their file descriptors


def open_missing_streams() -> None:
    """Replaces each closed standard stream by the null device, which reads as empty and discards what is written."""
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:  # closed
            _open_null(number)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
            if getattr(sys, f"__{name}__") is None:  # which some libraries use
                setattr(sys, f"__{name}__", stream)


def _open_null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened == number:  # as all smaller descriptors are open by now
        os.set_inheritable(number, True)  # else a child process would be without the stream again
        return
    os.dup2(opened, number)
    os.close(opened)
