"""One model for all requests: files are decoded in a few threads, queued, and run in batches."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.usage import bins_of
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import prediction_of
from ctonnx.server.engine.batching import Batcher
from ctonnx.server.engine.classification import Pictures, decode_next, open_frames, result_document
from ctonnx.server.monitoring.metrics import Metrics
from ctonnx.server.monitoring.usage_log import Sample, UsageLog
from ctonnx.server.settings import Settings
from ctonnx.server.transport.budgets import MemoryBudget, PixelBudget, Reserve
from ctonnx.server.transport.errors import RequestError
from ctonnx.server.transport.multipart import Files
from ctonnx.system.cpu import available_cores
from ctonnx.system.memory import largest

__all__ = ["Service"]

_Done = TypeVar("_Done")
_Sample = Sample[Mapping[str, str]]
_MOST_RUNS = 8  # each needs memory for the activations of a batch
_AT_ONCE = 8  # files of one request in progress at a time, so that it does not delay the others
_COPIES = 3  # of a picture in a response: its text, the JSON text, and the bytes
_SMOOTHING = 0.05  # weight of the newest batch in the moving average


class Service:
    """Predicts for files and tensors; it belongs to the event loop in which it is created.

    Attributes:
        memory: Budget for the bodies and responses of all requests.
    """

    def __init__(
        self, predictor: Predictor, settings: Settings, metrics: Metrics, usage: UsageLog | None = None
    ) -> None:
        self._spec, self._settings, self._metrics, self._usage = predictor.spec, settings, metrics, usage
        self._runs = min(predictor.threads, _MOST_RUNS) if predictor.provider == "cpu" else 1
        self._batcher = Batcher(
            lambda images: predictor.predict_pixels(np.stack(images)),
            runners=[lambda images: predictor.submit_pixels(np.stack(images))] * (self._runs - 1),
            max_batch=settings.max_batch,
            max_delay=settings.max_delay,
            on_batch=self._on_batch,
        )
        self._threads = ThreadPoolExecutor(min(available_cores(), _MOST_RUNS) + 1, thread_name_prefix="ctonnx-decode")
        size = self._spec.preprocessing.size
        predictor.predict_pixels(np.zeros((1, size, size, 3), np.uint8))  # a session's first run is slower
        self._in_progress = 0
        self._seconds_per_image = 0.0  # moving average
        self.memory = MemoryBudget(max(largest(), 2 * settings.limits.body_bytes))
        metrics.in_progress.set_function(lambda: self._in_progress)

    def close(self) -> None:
        """Completes the running work and ends the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._batcher.close()

    def check_queue(self, images: int = 1) -> None:
        """Rejects a request that does not fit into the queue; called before its body is received, too.

        Raises:
            RequestError: If too many images are in progress.
        """
        if self._in_progress + images > self._settings.queue:
            wait = max(1, math.ceil(self._in_progress * self._seconds_per_image))
            raise RequestError(503, "too many images are waiting; try again soon", {"Retry-After": str(wait)})

    @contextmanager
    def admitted(self, images: int) -> Iterator[None]:
        """Counts images as in progress until the block ends, if `check_queue` accepts them."""
        self.check_queue(images)
        self._in_progress += images
        try:
            yield
        finally:
            self._in_progress -= images

    async def in_thread(self, function: Callable[..., _Done], *arguments: Any) -> _Done:
        """Calls a function in one of the decoding threads, unless it is cancelled before."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def classify(self, files: Files, pictures: Pictures, reserve: Reserve) -> list[dict[str, Any]]:
        """Returns the results of a complete body's files in their order, one for each frame of a file with several.

        Raises:
            RequestError: If memory for the pictures is not available.
        """
        budget, slots = PixelBudget(self._settings.limits.request_pixels), asyncio.Semaphore(_AT_ONCE)

        sample = _Sample()

        async def classify_one(index: int, file: tuple[bytes, str | None]) -> list[dict[str, Any]]:
            async with slots:
                return await self._file(index, *file, pictures, reserve, budget, sample)

        named = enumerate(zip(files.contents, files.names, strict=True))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(classify_one(*file)) for file in named]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        self._log(sample)
        return [found for task in tasks for found in task.result()]

    async def infer(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Returns the model's outputs for pixels, uint8 [images, size, size, 3]."""
        rows = await asyncio.gather(*map(self._batcher.submit, pixels))
        self._metrics.images.labels("answered").inc(len(rows))
        outputs, sample = Outputs.concatenate(rows), _Sample()
        for row in range(len(rows)):
            if found := prediction_of(self._spec, outputs, row, source=""):
                self._count(found.as_dict(), sample)
        self._log(sample)
        return outputs

    def _count(
        self,
        result: Mapping[str, Any],
        sample: _Sample,
        *,
        mean_grey: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Counts a prediction, by its document."""
        bins = bins_of(
            label=result["label"],
            decision=result["decision"],
            score=result["score"],
            novelty_percentile=result["novelty_percentile"],
            mean_grey=mean_grey,
            size=size,
        )
        self._metrics.count_prediction(result, mean_grey=mean_grey, size=size)
        sample.offer(bins)

    def _log(self, sample: _Sample) -> None:
        if self._usage is not None and sample.item is not None:
            self._usage.add(sample.item)

    async def _file(
        self,
        index: int,
        content: bytes,
        name: str | None,
        pictures: Pictures,
        reserve: Reserve,
        budget: PixelBudget,
        sample: _Sample,
    ) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        frames = open_frames(content, self._spec, self._settings.limits)
        start = time.perf_counter()
        while decoded := await self.in_thread(decode_next, frames, self._spec, pictures, budget):
            outputs = None if decoded.pixels is None else await self._batcher.submit(decoded.pixels)
            spent = 1e3 * (time.perf_counter() - start)
            given = index, name, decoded, outputs, self._spec, pictures, spent
            results.append(await self.in_thread(result_document, *given) if any(pictures) else result_document(*given))
            reserve(_COPIES * sum(len(results[-1][name] or "") for name in Pictures._fields))
            self._metrics.images.labels("answered" if results[-1]["error"] is None else "unreadable").inc()
            if results[-1]["error"] is None:
                self._count(results[-1], sample, mean_grey=decoded.mean_grey, size=decoded.size)
            start = time.perf_counter()
            if decoded.frame is None:  # the file has no other frame
                break
        return results

    def _on_batch(self, images: int, seconds: float) -> None:
        weight = _SMOOTHING if self._seconds_per_image else 1.0
        self._seconds_per_image += weight * (seconds / images / self._runs - self._seconds_per_image)
        self._metrics.count_batch(images, seconds)
