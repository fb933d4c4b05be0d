"""Streaming of many images through a model: a few threads decode ahead, memory stays bounded, the order is kept."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from threading import Semaphore
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import ImageError, NotEnoughMemory
from ctonnx.images import load_frames, to_pixels
from ctonnx.images.scan import Scan
from ctonnx.images.source import ImageSource
from ctonnx.inference.providers import PROVIDERS
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.cautions import impression_of
from ctonnx.prediction.results import Failure, Prediction, Record, prediction_of
from ctonnx.system.cpu import available_cores
from ctonnx.system.memory import enough_memory

__all__ = ["NO_MEMORY", "Stream", "Watch", "name_of", "workers_for"]

Watch: TypeAlias = Callable[[Image.Image], Callable[[Prediction], None]]
"""Called with a decoded image; returns a function that is called with its prediction."""

NO_MEMORY = "too large for the memory of this machine; make it smaller"
"""Error of an image that does not fit into memory."""

_DECODERS = 4
_AHEAD = 3  # batches per thread that are waiting, running, or finished and waiting for an earlier one
_MOST_WORKERS = 8  # each needs the memory of a batch's activations


class _Decoded(NamedTuple):
    source: str
    pixels: NDArray[np.uint8]
    frame: int | None
    caution: str | None
    mean_grey: float | None
    size: tuple[int, int]
    on_prediction: Callable[[Prediction], None] | None


def workers_for(count: int, *, threads: int | None = None) -> int:
    """Returns the number of workers that predict `count` images fastest on a CPU.

    Many images are predicted fastest by one worker per thread, each on a core of its own, so that none waits for
    another. A few are predicted sooner if all cores compute each of them. Without `threads`, all cores are used.
    """
    workers = min(threads or available_cores(), _MOST_WORKERS)
    return workers if count >= 2 * PROVIDERS["cpu"].batch_size * workers else 1


def name_of(image: ImageSource) -> str:
    """Returns the name of an image in its record: its path, or the kind of the object."""
    if isinstance(image, bytes | np.ndarray):
        return getattr(image, "name", "bytes in memory") if isinstance(image, bytes) else "array"
    if isinstance(image, Scan):
        image = image.image
    if isinstance(image, Image.Image):
        return getattr(image, "filename", "") or "image in memory"
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else type(image).__name__  # load rejects others


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Predicts many images with a model.

    Attributes:
        run: Runs the model on a batch: a sequence of uint8 [size, size, 3]. Called from several threads.
        check_open: Raises an error if the model was closed; called before each record is yielded.
        spec: Spec of the model.
        not_finite: Error of an image whose outputs are not finite.
        workers: Number of batches that are computed at a time.
        batch_size: Number of images per batch.
        watch: Called with each decoded image; see `Predictor.predict_many`.
    """

    run: Callable[[Sequence[NDArray[np.uint8]]], Outputs]
    check_open: Callable[[], object]
    spec: ModelSpec
    not_finite: str
    workers: int
    batch_size: int
    watch: Watch | None = None

    def records(self, images: Iterator[ImageSource]) -> Iterator[Record]:
        """Yields a prediction or failure for each image, or for each frame, in order."""
        # A thread decodes its batch and then runs the model: with one worker, others decode at that time.
        threads = self.workers if self.workers > 1 else 1 + min(_DECODERS, available_cores())
        running = Semaphore(self.workers)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="ctonnx-worker")
        try:
            ahead: deque[Future[list[Record]]] = deque()
            failure: Exception | None = None
            while True:
                try:
                    while not failure and len(ahead) < _AHEAD * threads:
                        if not (batch := list(islice(images, self.batch_size))):
                            break
                        with enough_memory(f"start {threads} threads that read images"):
                            ahead.append(pool.submit(self._predict, batch, running))
                except NotEnoughMemory:
                    raise
                except Exception as error:  # of the caller's iterator: batches in progress are yielded first
                    failure = error
                if not ahead:
                    break
                for record in ahead.popleft().result():
                    self.check_open()
                    yield record
            if failure:
                raise failure
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _predict(self, images: Sequence[ImageSource], running: Semaphore) -> list[Record]:
        records: list[Record] = []
        decoded = (item for image in images for item in self._decode(image))
        while batch := list(islice(decoded, self.batch_size)):
            if pixels := [item.pixels for item in batch if not isinstance(item, Failure)]:
                with running:
                    outputs = self.run(pixels)
            row = iter(range(len(pixels)))
            records += (item if isinstance(item, Failure) else self._record(item, outputs, next(row)) for item in batch)
        return records

    def _record(self, item: _Decoded, outputs: Outputs, row: int) -> Record:
        found = prediction_of(
            self.spec,
            outputs,
            row,
            source=item.source,
            frame=item.frame,
            caution=item.caution,
            mean_grey=item.mean_grey,
            size=item.size,
        )
        if found is None:
            return Failure(item.source, self.not_finite, item.frame)
        if item.on_prediction is not None:
            item.on_prediction(found)
        return found

    def _decode(self, image: ImageSource) -> Iterator[_Decoded | Failure]:
        """Yields the pixels of an image, or of each frame of one with several."""
        name = name_of(image)
        try:
            for frame, found in load_frames(image, window=self.spec.dicom_window):
                source = name if frame is None else f"{name}#{frame + 1}"
                if isinstance(found, ImageError):
                    yield Failure(source, found.reason, frame)
                else:
                    on_prediction = None if self.watch is None else self.watch(found.image)
                    pixels = to_pixels(found, self.spec.preprocessing)
                    seen = impression_of(found, pixels, self.spec.preprocessing)
                    caution = seen.caution_of(self.spec.brightness)
                    yield _Decoded(source, pixels, frame, caution, seen.mean_grey, found.size, on_prediction)
        except ImageError as error:
            yield Failure(name, error.reason)
        except MemoryError:
            yield Failure(name, NO_MEMORY)
