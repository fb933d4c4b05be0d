"""Out-of-memory errors of any library, also as the cause of other errors."""

import errno
from typing import Any

import pytest
import torch

from ctonnx.errors import DataError
from ctonnx_train.training.loop.device import out_of_memory


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shapes do not fit"), False),
        (OSError("out of memory"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (KeyboardInterrupt(), False),
    ],
)
def test_out_of_memory_errors_are_recognized(error: BaseException, is_memory: bool) -> None:
    assert out_of_memory(error) is is_memory


def raised(error: BaseException, *, cause: BaseException | None = None, context: BaseException | None = None) -> Any:
    """Returns an error as if it had been raised while another one was handled."""
    error.__cause__ = cause
    error.__context__ = context or cause
    error.__suppress_context__ = True  # as "from None", which hides the earlier error but keeps it
    return error


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (raised(RuntimeError("the backend failed"), cause=MemoryError()), True),
        (raised(RuntimeError("the backend failed"), context=torch.OutOfMemoryError("CUDA out of memory")), True),
        (raised(RuntimeError("first"), context=raised(TypeError("second"), cause=MemoryError())), True),
        (raised(RuntimeError("the compiler"), context=OSError(errno.ENOMEM, "Cannot allocate memory")), True),
        (RuntimeError("g++: fatal error: Killed signal terminated program cc1plus"), True),
        (RuntimeError("cc1plus: out of memory allocating 65536 bytes after a total of 9 bytes"), True),
        (RuntimeError("An exception occurred in a subprocess: Traceback (most recent call last): MemoryError"), True),
        (raised(RuntimeError("the backend failed"), cause=TypeError("shapes do not fit")), False),
        (raised(KeyboardInterrupt(), context=MemoryError()), False),
        (raised(DataError("expected images"), context=MemoryError()), False),
        (raised(OSError(errno.ENOSPC, "No space left on device"), context=MemoryError()), False),
    ],
)
def test_out_of_memory_errors_are_recognized_as_the_cause_of_others(error: BaseException, is_memory: bool) -> None:
    assert out_of_memory(error) is is_memory


def test_errors_that_led_to_each_other_end_the_search() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__context__, second.__context__ = second, first
    assert not out_of_memory(first)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("error", "is_memory"),
    [(MemoryError(), True), (torch.OutOfMemoryError("CUDA out of memory"), True), (TypeError("no such layer"), False)],
)
def test_out_of_memory_errors_are_recognized_when_torch_compiles(error: Exception, is_memory: bool) -> None:
    def backend(module: Any, inputs: Any) -> Any:
        raise error

    with pytest.raises(RuntimeError) as caught:
        torch.compile(torch.nn.Linear(2, 2), backend=backend)(torch.zeros(1, 2))
    assert caught.type.__name__ == "BackendCompilerFailed"
    assert out_of_memory(caught.value) is is_memory
