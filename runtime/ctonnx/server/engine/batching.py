"""Queue of the model: first come, first served, in batches of the images that wait when a run can begin.

An image that arrives while the model is idle is run immediately, on all cores. Images that arrive during runs wait,
and the next run takes them together: batches grow with the load, and a single request is not delayed.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs

__all__ = ["Batcher"]

_Images: TypeAlias = Sequence[NDArray[np.uint8]]
_Runner: TypeAlias = "Callable[[_Images], Future[Outputs]]"  # starts a batch


@dataclass(frozen=True, eq=False)
class _Waiting:
    pixels: NDArray[np.uint8]
    outputs: "asyncio.Future[Outputs]"
    since: float


class Batcher:
    """Runs a model on batches of images; it belongs to the event loop in which it is created.

    Args:
        run: Computes the outputs of a batch of images, uint8 [size, size, 3] each; called in a thread.
        runners: Functions that start a batch in addition and return immediately; each has one batch at a time.
        max_batch: Maximum number of images in a batch.
        max_delay: Seconds that a batch that is not full waits for more images while another one is computed.
        on_batch: Called after each batch with its number of images and its seconds.
    """

    def __init__(
        self,
        run: Callable[[_Images], Outputs],
        *,
        runners: Sequence[_Runner] = (),
        max_batch: int,
        max_delay: float = 0.0,
        on_batch: Callable[[int, float], None] = lambda images, seconds: None,
    ) -> None:
        self._max_batch, self._max_delay, self._on_batch = max_batch, max_delay, on_batch
        self._loop = asyncio.get_running_loop()
        self._queue: list[_Waiting] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ctonnx-model")
        self._runners: Sequence[_Runner] = [lambda images: self._thread.submit(run, images), *runners]
        self._running: dict[int, Future[Outputs]] = {}  # by the index of the runner
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, pixels: NDArray[np.uint8]) -> "asyncio.Future[Outputs]":
        """Returns a future of the outputs of one image, one row; cancelled while it waits, it is never run."""
        item = _Waiting(pixels, self._loop.create_future(), time.perf_counter())
        self._queue.append(item)
        self._start()
        return item.outputs

    def close(self) -> None:
        """Waits for the batches that are running, ends the thread, and cancels the images that wait."""
        if self._timer is not None:
            self._timer.cancel()
        for item in self._queue:
            item.outputs.cancel()
        self._queue.clear()
        self._thread.shutdown(wait=True)
        wait(self._running.values())

    def _start(self) -> None:
        """Starts as many batches as runners are idle."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while len(self._running) < len(self._runners):
            # The others are cancelled: their clients disconnected, or their time is over.
            self._queue = [item for item in self._queue if not item.outputs.done()]
            if not self._queue:
                return
            if self._running and len(self._queue) < self._max_batch:
                left = self._queue[0].since + self._max_delay - time.perf_counter()
                if left > 0:
                    self._timer = self._loop.call_later(left, self._start)
                    return
            batch, self._queue = self._queue[: self._max_batch], self._queue[self._max_batch :]
            runner = next(index for index in range(len(self._runners)) if index not in self._running)
            try:
                self._running[runner] = self._runners[runner]([item.pixels for item in batch])
            except Exception as error:
                self._running[runner] = Future()
                self._running[runner].set_exception(error)
            run = asyncio.wrap_future(self._running[runner], loop=self._loop)
            run.add_done_callback(partial(self._finish, runner, batch, time.perf_counter()))

    def _finish(self, runner: int, batch: Sequence[_Waiting], start: float, done: "asyncio.Future[Outputs]") -> None:
        seconds = time.perf_counter() - start
        del self._running[runner]
        self._start()  # before the outputs are distributed, so that the model does not wait for that
        if done.cancelled():
            return
        if error := done.exception():
            for item in batch:
                if not item.outputs.done():
                    item.outputs.set_exception(error)
            return
        outputs = done.result()
        self._on_batch(len(batch), seconds)
        for row, item in enumerate(batch):
            if not item.outputs.done():
                item.outputs.set_result(outputs[row : row + 1])
