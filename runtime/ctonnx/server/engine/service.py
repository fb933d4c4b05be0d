"""One model that many requests share: files are decoded in a few threads, wait for their turn, and are answered."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.engine.batching import Batcher
from ctonnx.server.engine.classification import Wanted, decode, frames_of, result
from ctonnx.server.metrics import Metrics
from ctonnx.server.settings import Settings
from ctonnx.server.transport.budgets import MemoryBudget, PixelBudget, Take
from ctonnx.server.transport.errors import RequestError
from ctonnx.server.transport.multipart import Files
from ctonnx.system.cpu import available_cores
from ctonnx.system.memory import largest

__all__ = ["Service"]

_Done = TypeVar("_Done")
_MOST_RUNS = 8  # each holds a batch's activations
_AT_ONCE = 8  # files of one request that are under way at a time, so that it does not hold up the others
_COPIES = 3  # of a picture in an answer: as text, in the whole text and as its bytes
_MEMORY = 0.05  # how much of the newest batch goes into the pace


class Service:
    """Answers for files and for tensors; it belongs to the event loop that makes it.

    Args:
        predictor: Its session is shared by all requests.
        settings: Limits, queue and batches.
        metrics: that count what is done.

    Attributes:
        room: for the bodies of all requests.
    """

    def __init__(self, predictor: Predictor, settings: Settings, metrics: Metrics) -> None:
        self._predictor, self._settings, self._metrics = predictor, settings, metrics
        self._spec = predictor.spec
        cores = available_cores()
        self._runs = min(predictor.threads, _MOST_RUNS) if predictor.provider == "cpu" else 1
        self._batcher = Batcher(
            lambda images: predictor.predict_pixels(np.stack(images)),
            beside=[lambda images: predictor.submit_pixels(np.stack(images))] * (self._runs - 1),
            max_batch=settings.max_batch,
            max_delay=settings.max_delay,
            told=self._told,
        )
        self._threads = ThreadPoolExecutor(min(cores, _MOST_RUNS) + 1, thread_name_prefix="ctonnx-decode")
        size = self._spec.preprocessing.size
        predictor.predict_pixels(np.zeros((1, size, size, 3), np.uint8))  # a session's first run takes longer
        self._under_way = 0
        self._pace = 0.0  # seconds for an image
        self.room = MemoryBudget(max(largest(), 2 * settings.limits.body_bytes))
        metrics.under_way.set_function(lambda: self._under_way)

    def close(self) -> None:
        """Ends the threads, once what they do is done."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._batcher.close()

    def refuse_when_full(self, images: int = 1) -> None:
        """Turns a request away that there is no room for; asked before its body is received, too.

        Raises:
            Refusal: Too many images are under way.
        """
        if self._under_way + images > self._settings.queue:
            wait = max(1, math.ceil(self._under_way * self._pace))
            raise RequestError(503, "too many images are waiting; try again soon", {"Retry-After": str(wait)})

    @contextmanager
    def admitted(self, images: int) -> Iterator[None]:
        """Takes images on until the block ends.

        Raises:
            Refusal: Too many are under way.
        """
        self.refuse_when_full(images)
        self._under_way += images
        try:
            yield
        finally:
            self._under_way -= images

    async def in_thread(self, function: Callable[..., _Done], *arguments: Any) -> _Done:
        """Calls a function in one of the threads that decode. Cancelled before it began, it is never called."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def classify(self, files: Files, wanted: Wanted, take: Take) -> list[dict[str, Any]]:
        """Returns the results for files, in their order, and for each frame of those that have several.

        Args:
            files: whole.
            wanted: Pictures in the results.
            take: Room for them.

        Raises:
            Refusal: there is no room for the pictures.
        """
        budget = PixelBudget(self._settings.limits.request_pixels)
        named = list(zip(files.contents, files.names, strict=True))
        if len(named) == 1:
            return await self._file(0, *named[0], wanted, take, budget)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def interleaved(index: int, file: tuple[bytes, str | None]) -> list[dict[str, Any]]:
            async with turns:
                return await self._file(index, *file, wanted, take, budget)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(interleaved(*numbered)) for numbered in enumerate(named)]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [found for task in tasks for found in task.result()]

    async def infer(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Returns the model's outputs.

        Args:
            pixels: uint8 [images, size, size, 3].
        """
        rows = await asyncio.gather(*map(self._batcher.submit, pixels))
        self._metrics.images.labels("answered").inc(len(rows))
        return Outputs.concatenate(rows)

    async def _file(
        self, index: int, content: bytes, name: str | None, wanted: Wanted, take: Take, budget: PixelBudget
    ) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        frames = frames_of(content, self._spec, self._settings.limits)
        start = time.perf_counter()
        while decoded := await self.in_thread(decode, frames, self._spec, wanted, budget):
            outputs = None if decoded.pixels is None else await self._batcher.submit(decoded.pixels)
            spent = 1e3 * (time.perf_counter() - start)
            given = index, name, decoded, outputs, self._spec, wanted, spent
            results.append(await self.in_thread(result, *given) if any(wanted) else result(*given))
            take(_COPIES * sum(len(results[-1][name] or "") for name in Wanted._fields))
            self._metrics.images.labels("answered" if results[-1]["error"] is None else "unreadable").inc()
            start = time.perf_counter()
            if decoded.frame is None:  # there is no other
                break
        return results

    def _told(self, images: int, seconds: float) -> None:
        pace = seconds / images / self._runs
        self._pace += (_MEMORY if self._pace else 1.0) * (pace - self._pace)
        self._metrics.count_batch(images, seconds)
