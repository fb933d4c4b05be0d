"""Error messages about DICOM files without patient data: only the file's kind and the keyword of an invalid element.

pydicom and highdicom quote the values of elements, patients' names among them, in warnings, log messages and
exceptions: `redacting` suppresses them, and `ctonnx.images.dicom.header.find_invalid_element` names the invalid element
instead.
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

_QUIET = r"(pydicom|highdicom|ctonnx\.images\.dicom)(\.|$)"  # modules whose warnings quote a file's values
_LOGGERS = ("pydicom", "pydicom.pixels.utils", "pydicom.pixels.decoders.base", "highdicom.base")
_thread = threading.local()
_filters_lock = threading.Lock()


def redacting(name: str, read: Callable[[], _Read], why: Callable[[], str]) -> _Read:
    """Calls `read` and replaces pydicom's warnings, log messages and exceptions by an error without patient data.

    After an exception `why` returns the reason for the error.

    Raises:
        ImageError: If `read` raised an exception; it is not chained.
        MemoryError: If `read` raised it.
    """
    # The filters stay, as other threads are reading: warnings.catch_warnings is for a single thread.
    with _filters_lock:
        for logger in _LOGGERS:
            logging.getLogger(logger).addFilter(_is_not_reading)
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
    # Damaged files make pydicom and its decoders raise any exception; its message is dropped.
    except Exception:
        reason = why()
    finally:
        _thread.reads = False
    if reason is None:
        raise MemoryError
    raise ImageError(f"damaged DICOM file: {reason}", name)


def _is_not_reading(record: logging.LogRecord) -> bool:
    return not getattr(_thread, "reads", False)
