"""The queue before the model: first come, first served, in batches of what waits when a run may begin.

An image that comes while the model is free is run at once and alone, on all cores. While runs are under way images
gather, and the next run takes them together: batches grow with the load and cost a lone request nothing.
"""

import asyncio
import time
from collections import deque
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
_Way: TypeAlias = "Callable[[_Images], Future[Outputs]]"  # to have a batch computed


@dataclass(frozen=True, eq=False)
class _Waiting:
    pixels: NDArray[np.uint8]
    answer: "asyncio.Future[Outputs]"
    since: float


class Batcher:
    """Gives images to a model in batches; it belongs to the event loop that makes it.

    Args:
        run: Answers for a batch of images, uint8 [size, size, 3] each; called in a thread.
        beside: Begin a batch each, and return at once, while another is computed; each has one at a time.
        max_batch: Images in a batch.
        max_delay: Seconds that a batch which is not full waits for more, while another one is computed.
        told: Called with the images of each batch, and the seconds that it took.
    """

    def __init__(
        self,
        run: Callable[[_Images], Outputs],
        *,
        beside: Sequence[_Way] = (),
        max_batch: int,
        max_delay: float = 0.0,
        told: Callable[[int, float], None] = lambda images, seconds: None,
    ) -> None:
        self._max_batch, self._max_delay, self._told = max_batch, max_delay, told
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ctonnx-model")
        self._ways: Sequence[_Way] = [lambda images: self._thread.submit(run, images), *beside]
        self._under_way: dict[int, Future[Outputs]] = {}  # by the place of its way
        self._alarm: asyncio.TimerHandle | None = None

    def submit(self, pixels: NDArray[np.uint8]) -> "asyncio.Future[Outputs]":
        """Returns the answer for one image, in time: a batch of one row. Cancelled while it waits, it is never run.

        Args:
            pixels: uint8 [size, size, 3].
        """
        item = _Waiting(pixels, self._loop.create_future(), time.perf_counter())
        self._queue.append(item)
        self._start()
        return item.answer

    def close(self) -> None:
        """Waits for what is computed, and ends the thread. What still waits is cancelled."""
        if self._alarm is not None:
            self._alarm.cancel()
        for item in self._queue:
            item.answer.cancel()
        self._queue.clear()
        self._thread.shutdown(wait=True)
        wait(self._under_way.values())

    def _start(self) -> None:
        """Begins as many runs as may be."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while len(self._under_way) < len(self._ways) and self._queue:
            while self._queue and self._queue[0].answer.done():  # cancelled: its client is gone, or its time over
                self._queue.popleft()
            if not self._queue:
                return
            if self._under_way and len(self._queue) < self._max_batch:
                left = self._queue[0].since + self._max_delay - time.perf_counter()
                if left > 0:
                    self._alarm = self._loop.call_later(left, self._start)
                    return
            batch: list[_Waiting] = []
            while self._queue and len(batch) < self._max_batch:
                item = self._queue.popleft()
                if not item.answer.done():
                    batch.append(item)
            way = next(place for place in range(len(self._ways)) if place not in self._under_way)
            try:
                self._under_way[way] = self._ways[way]([item.pixels for item in batch])
            except Exception as error:
                self._under_way[way] = Future()
                self._under_way[way].set_exception(error)
            run = asyncio.wrap_future(self._under_way[way], loop=self._loop)
            run.add_done_callback(partial(self._finish, way, batch, time.perf_counter()))

    def _finish(self, way: int, batch: Sequence[_Waiting], start: float, done: "asyncio.Future[Outputs]") -> None:
        seconds = time.perf_counter() - start
        del self._under_way[way]
        self._start()  # before the answers are handed out: the model should not wait for that
        if done.cancelled():
            return
        if error := done.exception():
            for item in batch:
                if not item.answer.done():
                    item.answer.set_exception(error)
            return
        outputs = done.result()
        self._told(len(batch), seconds)
        for row, item in enumerate(batch):
            if not item.answer.done():
                item.answer.set_result(outputs[row : row + 1])
