"""Ends the command cleanly at SIGTERM, SIGHUP and Ctrl-C."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Terminated", "ending_on_signals"]


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: it ends a command as Ctrl-C does, with what is half-written taken away."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


_AGAIN = 0.01  # seconds until a signal is sent again
# A terminal that is closed, or a connection that is lost, sends the second, which Windows does not have.
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into an exception meanwhile, where nobody else handles them, as nohup does.

    It comes at any point of any library. One that makes another error of it, as a module does that is being loaded,
    ends the command all the same; where Python has nobody to pass it on to, as in a weak reference's callback, it comes
    again.
    """
    is_main = threading.current_thread() is threading.main_thread()
    ours = [number for number in _ENDING if is_main and signal.getsignal(number) == signal.SIG_DFL]
    came: list[int] = []
    hook = sys.unraisablehook

    def terminate(number: int, frame: object) -> None:
        came.append(number)
        raise Terminated(number)

    def again(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, Terminated):
            threading.Timer(_AGAIN, os.kill, (os.getpid(), came[0])).start()
        else:
            hook(lost)

    for number in ours:
        signal.signal(number, terminate)
    sys.unraisablehook = again
    try:
        yield
    except Exception as error:
        if came:
            raise Terminated(came[0]) from error
        raise
    finally:
        sys.unraisablehook = hook
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
