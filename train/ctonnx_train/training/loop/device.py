"""Device, numeric precision, out-of-memory errors and times of a training."""

import ctypes
import errno
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch

from ctonnx.errors import CtonnxError, DataError
from ctonnx_train.training.recipe import Precision, TrainSettings

__all__ = ["DeviceTimer", "choose_device", "keep_freed_memory", "out_of_memory", "resolve_precision"]

LIGHTNING_PRECISION: Mapping[Precision, Literal["bf16-mixed", "16-mixed", "32-true"]] = {
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
    "fp32": "32-true",
}
_MEMORY_SIGNS = (
    "can't allocate memory",
    "out of memory",
    "ALLOC_FAILED",
    "MemoryError",  # from a process of torch's compiler, as text
    "Killed signal terminated",  # from a C++ compiler that the system killed for its memory use
)


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Returns the precision; `auto` is bf16 if the device supports it natively, fp16 on other CUDA GPUs, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu" and any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name):
        return "bf16"
    return "fp32"


def out_of_memory(error: BaseException) -> bool:
    """Returns whether an error, or an error that caused it, means that a device or the machine ran out of memory.

    torch.compile replaces errors of its compilers by its own, `from None`; the original error remains as the context.
    """
    seen, waiting = set[int](), [error]
    while waiting:
        error = waiting.pop()
        if _is_memory_error(error):
            return True
        seen.add(id(error))
        # A CtonnxError or an OSError has a meaning of its own.
        if isinstance(error, Exception) and not isinstance(error, CtonnxError | OSError):
            behind = (error.__cause__, error.__context__, getattr(error, "inner_exception", None))
            waiting += [other for other in behind if isinstance(other, BaseException) and id(other) not in seen]
    return False


def _is_memory_error(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in _MEMORY_SIGNS)
    )


def choose_device(settings: TrainSettings) -> tuple[torch.device, Precision]:
    """Returns the type of device and the precision for training.

    Raises:
        DataError: If there are fewer GPUs than `devices`, or the precision is not supported on a CPU.
    """
    name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and torch.cuda.device_count() < settings.devices:
        raise DataError(
            f"expected at least {settings.devices} GPUs for --devices, found {torch.cuda.device_count()}; lower it"
        )
    device = torch.device(name)
    precision = resolve_precision(settings.precision, device)
    if precision == "fp16" and name == "cpu":
        raise DataError("expected --precision bf16 or fp32 on a CPU, found fp16, which needs a GPU")
    return device, precision


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory instead of returning it to the system and requesting it again, page by page.

    A training step on a CPU frees and allocates hundreds of megabytes. `python -m
    ctonnx_bench.experiments.throughput.training` measures the difference.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    mmap_threshold, trim_threshold = -3, -1  # mallopt(3)
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)


class DeviceTimer:
    """Sums the seconds that a device takes for blocks of operations.

    A GPU runs them after the block: events mark their start and end, and only reading `seconds` waits for the GPU.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def timed(self, device: torch.device) -> Iterator[None]:
        """Adds the time of the block's operations."""
        if device.type != "cuda":
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start
            return
        begins, ends = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begins.record()
        yield
        ends.record()
        self._events.append((begins, ends))

    @property
    def seconds(self) -> float:
        """Seconds of all blocks so far."""
        for begins, ends in self._events:
            ends.synchronize()
            self._seconds += begins.elapsed_time(ends) / 1e3  # from milliseconds
        self._events.clear()
        return self._seconds
