"""How too little memory is known, whichever library says it."""

import pytest
import torch

from ctonnx_train.fitting import out_of_memory


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
        (KeyboardInterrupt(), False),
    ],
)
def test_too_little_memory_is_known_by_its_signs(error: BaseException, is_memory: bool) -> None:
    assert out_of_memory(error) is is_memory
