"""Exceptions for SIGTERM and SIGHUP, so that a command cleans up before it ends."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Terminated", "signals_as_exceptions"]


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received; it ends a command as Ctrl-C does, and partial output is removed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number  # as shells report it


_RESEND_AFTER = 0.01  # seconds
# SIGHUP is sent when a terminal is closed or its connection is lost; Windows does not have it.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Raises `Terminated` at SIGTERM or SIGHUP within the block, unless the signal is handled or ignored already.

    The exception can be raised at any point of any library. If the library raises another one instead, as a module that
    is being imported may do, that is replaced by `Terminated`. If Python cannot propagate it, as from the callback of a
    weak reference, the signal is sent again.
    """
    is_main = threading.current_thread() is threading.main_thread()
    handled = [number for number in _SIGNALS if is_main and signal.getsignal(number) == signal.SIG_DFL]
    received: list[int] = []
    hook = sys.unraisablehook

    def terminate(number: int, frame: object) -> None:
        received.append(number)
        raise Terminated(number)

    def resend(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, Terminated):
            threading.Timer(_RESEND_AFTER, os.kill, (os.getpid(), received[0])).start()
        else:
            hook(lost)

    for number in handled:
        signal.signal(number, terminate)
    sys.unraisablehook = resend
    try:
        yield
    except Exception as error:
        if received:
            raise Terminated(received[0]) from error
        raise
    finally:
        sys.unraisablehook = hook
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
