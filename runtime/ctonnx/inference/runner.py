"""Runs a session on batches of pixels, on an NVIDIA GPU with pinned memory and bound outputs."""

import ctypes
import math
import sys
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import nullcontext
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ctonnx.errors import CtonnxError, ProviderError
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.parity.outputs import Outputs
from ctonnx.system.memory import as_memory_error
from ctonnx.system.text import counted

__all__ = ["Runner", "pinned_memory"]


class Runner:
    """Runs batches of pixels on one session.

    On an NVIDIA GPU, with a build of onnxruntime for it, a batch is written to page-locked memory, which the GPU reads
    directly, and the outputs are bound to CPU memory, so that each is copied once. NVIDIA GPUs, DirectML, MLX and
    WebGPU run one batch at a time, other providers one for each caller. A provider that compiles the graph for one
    image runs the images of a batch one after the other.

    Args:
        session: Session of a ctonnx model, from `open_session`: its outputs are the fields of `Outputs`, in order.
        provider: Provider of the session.
    """

    def __init__(self, session: onnxruntime.InferenceSession, provider: Provider) -> None:
        self.session, self._provider = session, provider
        facts = PROVIDERS[provider]
        self._is_bound = facts.is_nvidia and facts.plugin is None
        self._one_image = facts.one_image_a_run
        self._turn = Lock() if facts.one_run_at_a_time else nullcontext()
        self._memory: NDArray[np.uint8] = np.empty(0, np.uint8)
        # Deleting a session while its threads compute would crash the process.
        self._under_way: set[Future[Outputs]] = set()
        weakref.finalize(self, wait, self._under_way)

    def __call__(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> Outputs:
        """Returns the outputs for a batch.

        Args:
            images: uint8 [batch, size, size, 3], or a sequence of [size, size, 3].

        Raises:
            ProviderError: If the provider failed, for example because its memory is full.
            NotEnoughMemory: If the CPU has too little memory.
        """
        if isinstance(images, np.ndarray) and len(images) == 0:  # which onnxruntime's matrix product rejects
            return self(np.zeros((1, *images.shape[1:]), images.dtype))[:0]
        try:
            with self._turn:
                if self._is_bound:
                    return self._run_bound(images)
                if self._one_image and len(images) != 1:
                    parts = [self.session.run(None, {"pixels": image[None]}) for image in images]
                    return Outputs.concatenate([Outputs(*part) for part in parts])
                pixels = images if isinstance(images, np.ndarray) else np.stack(images)
                return Outputs(*self.session.run(None, {"pixels": pixels}))
        except Exception as error:  # onnxruntime's exceptions share no base class but this
            raise _translate_error(error, self._provider, len(images)) from error

    def submit(self, images: NDArray[np.uint8]) -> "Future[Outputs]":
        """Runs a batch, uint8 [batch, size, size, 3], in one of the session's own threads without waiting for it.

        The future returns the outputs, or raises the errors of `__call__`.
        """
        provider, future = self._provider, Future[Outputs]()

        def done(arrays: Sequence[NDArray[np.float32]], _: object, failure: str) -> None:
            try:
                if failure:
                    raise _translate_error(RuntimeError(failure), provider, len(images))
                outputs = Outputs(*arrays)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(outputs)

        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        try:
            self.session.run_async(None, {"pixels": images}, done, None)
        except Exception as error:
            future.set_exception(_translate_error(error, provider, len(images)))
        return future

    def _run_bound(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> Outputs:
        shape = images.shape if isinstance(images, np.ndarray) else (len(images), *images[0].shape)
        if (count := math.prod(shape)) > self._memory.size:
            self._memory = pinned_memory(count)
        pixels = self._memory[:count].reshape(shape)
        if isinstance(images, np.ndarray):
            pixels[...] = images
        else:
            np.stack(images, out=pixels)
        binding = self.session.io_binding()
        binding.bind_cpu_input("pixels", pixels)
        for output in self.session.get_outputs():
            binding.bind_output(output.name, "cpu")
        self.session.run_with_iobinding(binding)
        return Outputs(*binding.copy_outputs_to_cpu())


def _translate_error(error: Exception, provider: Provider, count: int) -> CtonnxError:
    """Returns the error of ctonnx for an exception of onnxruntime, raised for a batch of `count` images."""
    action = f"compute a batch of {counted(count, 'image')}"
    if provider == "cpu" and (memory_error := as_memory_error(error, action)):  # on a GPU, its own may be full
        return memory_error
    from ctonnx.inference.diagnosis import explain_failure

    return ProviderError(explain_failure(provider, onnxruntime, str(error)))


def pinned_memory(count: int, load: Callable[[str], Any] = ctypes.CDLL) -> NDArray[np.uint8]:
    """Returns `count` bytes of page-locked memory, or of ordinary memory if CUDA's runtime cannot allocate it.

    They are not initialized. `load` opens a library by its name.
    Source: https://docs.nvidia.com/cuda/cuda-runtime-api/ (`cudaHostAlloc`, `cudaFreeHost`).
    """
    major = str(getattr(onnxruntime, "cuda_version", "") or "").partition(".")[0]
    pointer = ctypes.c_void_p()
    try:
        library = load(f"cudart64_{major}.dll" if sys.platform == "win32" else f"libcudart.so.{major}")
        status = library.cudaHostAlloc(ctypes.byref(pointer), ctypes.c_size_t(count), 0)
    except (OSError, AttributeError):
        return np.empty(count, np.uint8)
    if status != 0 or not pointer.value:
        return np.empty(count, np.uint8)
    block = (ctypes.c_uint8 * count).from_address(pointer.value)
    # Not at exit: the driver may be unloaded by then, and releases the memory itself.
    weakref.finalize(block, library.cudaFreeHost, ctypes.c_void_p(pointer.value)).atexit = False
    return np.frombuffer(memoryview(block), np.uint8)
