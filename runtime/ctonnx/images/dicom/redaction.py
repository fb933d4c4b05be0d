"""What may be said of a DICOM file: its kind, the keyword of an element that is at fault, and no other value it has.

pydicom quotes the values of elements, patients' names among them, in its warnings and exceptions: `redacting` lets
none of these out, and `find_invalid_element` finds by itself which element is wrong, once something went wrong.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.7.6.3.html (what pixels ask for)
"""

import logging
import threading
import warnings
from collections.abc import Callable
from typing import TypeVar

from ctonnx.errors import ImageError
from ctonnx.images.dicom.header import Fault

__all__ = ["redacting"]


_Read = TypeVar("_Read")

_QUIET = r"(pydicom|ctonnx\.images\.dicom)(\.|$)"  # modules that warn of what a file holds
_thread = threading.local()
_filters_lock = threading.Lock()


def redacting(name: str, read: Callable[[], _Read], why: Callable[[], str]) -> _Read:
    """Calls `read` and lets out nothing that pydicom says: only an error of ours, with none of its behind.

    Args:
        name: what the error calls the file.
        read: that may raise whatever Python has.
        why: Says what is wrong with the file, once `read` has raised.

    Raises:
        ImageError: `read` raised.
        MemoryError: it had not enough memory.
    """
    # Nothing is undone afterwards, as other threads are reading: warnings.catch_warnings is for a single one.
    with _filters_lock:
        for logger in ("pydicom", "pydicom.pixels.utils", "pydicom.pixels.decoders.base"):
            logging.getLogger(logger).addFilter(_is_not_ours)
        if not (warnings.filters and str(getattr(warnings.filters[0][3], "pattern", "")) == _QUIET):
            warnings.filterwarnings("ignore", module=_QUIET)
    reason: str | None = None
    _thread.reads = True
    try:
        return read()
    except ImageError:
        raise
    except MemoryError:
        pass
    except Fault as fault:
        reason = str(fault)
    # Damaged files make pydicom and its decoders raise whatever Python has; what they say of it is dropped.
    except Exception:
        reason = why()
    finally:
        _thread.reads = False
    if reason is None:
        raise MemoryError
    raise ImageError(f"damaged DICOM file: {reason}", name)


def _is_not_ours(record: logging.LogRecord) -> bool:
    return not getattr(_thread, "reads", False)
