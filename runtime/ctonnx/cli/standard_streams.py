"""Standard streams where a process was started without them, as by a Windows service, `pythonw` or a daemon.

Python has None in the place of a closed stream, and the next file that is opened gets its number: what a library writes
to "stderr" would land in that file. So the null device takes each free place, before any other file is opened.
"""

import os
import sys

__all__ = ["open_missing_streams"]

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # in the order of their numbers


def open_missing_streams() -> None:
    """Puts the null device in the place of each closed standard stream: reading ends at once, writing is lost."""
    for number, (name, mode) in enumerate(_STREAMS):
        if _is_closed(number):
            _open_null(number)
        if getattr(sys, name) is None:
            stream = os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
            setattr(sys, name, stream)
            if getattr(sys, f"__{name}__") is None:  # which some libraries take
                setattr(sys, f"__{name}__", stream)


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def _open_null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened == number:  # as those below it are open by now
        os.set_inheritable(number, True)  # else a child process would be without the stream again
        return
    os.dup2(opened, number)
    os.close(opened)
