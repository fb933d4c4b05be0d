"""The slim predictor: images in, class probabilities and heatmaps out, with onnxruntime alone."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Semaphore
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from PIL import Image

from ctonnx.errors import ImageError, ModelError, NotEnoughMemory, ProviderError
from ctonnx.images import load, load_frames, to_pixels
from ctonnx.images.scan import Scan
from ctonnx.images.source import ImageSource
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.inference.runner import Runner
from ctonnx.inference.session import open_session, read_spec
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.cautions import caution_of
from ctonnx.prediction.model_selection import find_model
from ctonnx.prediction.results import Failure, Prediction, Record, answer
from ctonnx.system.cpu import available_cores, check_threads
from ctonnx.system.memory import enough_memory

__all__ = ["Failure", "Prediction", "Predictor", "Record", "Watch", "workers_for"]


Watch: TypeAlias = Callable[[Image.Image], Callable[[Prediction], None]]
"""Takes a decoded image, and returns what takes its prediction."""

_NO_MEMORY = "too large for the memory of this machine; make it smaller"
_DECODERS = 4
_AHEAD = 3  # batches a thread: what waits for its turn, or is finished and waits for one before it
_MOST_WORKERS = 8  # each holds a batch's activations


class _Decoded(NamedTuple):
    source: str
    pixels: NDArray[np.uint8]
    frame: int | None
    caution: str | None
    tell: Callable[[Prediction], None] | None


def workers_for(count: int, *, threads: int | None = None) -> int:
    """Returns how many workers answer for `count` images fastest on a CPU.

    Many images go through as many sessions' runs as there are threads, each on one core, which wait for nothing; a few
    are answered sooner where all cores compute each of them.

    Args:
        count: of the images.
        threads: in all; None takes every core that this process may use.
    """
    workers = min(threads or available_cores(), _MOST_WORKERS)
    return workers if count >= 2 * PROVIDERS["cpu"].batch_size * workers else 1


class Predictor:
    """Runs one exported model.

    It may be used from several threads at a time, and pickled: the copy opens the same file.

    >>> Predictor("runs/lungs/export/model.fp32.onnx")  # doctest: +SKIP
    Predictor('runs/lungs/export/model.fp32.onnx', provider='cpu')

    Args:
        model: An `.onnx` file, or a run's folder; None takes the newest run with an export below `./runs`.
        provider: `cpu`, `cuda`, `tensorrt`, `openvino`, `coreml` or `directml`; the one asked for is the one that runs.
        fallback: True takes the CPU, and the model that suits it, where the provider does not run.
        threads: in all, for the model; None takes every core that this process may use.
        workers: Batches that a CPU computes at a time, at most one a thread; threads beyond these help whichever needs
            them. One answers soonest for one image; as many as there are threads go through many images fastest
            (`workers_for`). Every other provider has one.
        spinning: Whether threads that wait go on looking for work for a while, which keeps the cores from others; False
            lets them sleep after 50 microseconds, which a lone session answers as fast with.
        check: False takes a file that was damaged or altered since it was exported, by its checksum.

    Attributes:
        path: The file that is used.
        provider: The provider that runs it.
        refusal: why the provider that was asked for does not run, where the CPU was taken in its place; else None.
        threads: in all.
        workers: Batches at a time.
        spinning: as given.
        spec: what the model says about itself.

    Raises:
        ModelError: No model was found, or it is damaged, carries no spec, or has operators that no export has.
        ProviderError: The provider cannot run here, and the CPU may not take its place.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        provider: Provider = "cpu",
        fallback: bool = False,
        threads: int | None = None,
        workers: int = 1,
        spinning: bool = True,
        check: bool = True,
    ) -> None:
        if workers < 1:
            raise ValueError(f"expected at least 1 worker, found {workers}")
        check_threads(threads)
        self._asked_threads, self._fallback = threads, fallback
        self.threads = threads or available_cores()
        self.spinning, self._check = spinning, check
        self.refusal: str | None = None
        named = None if model is None else Path(model)
        try:
            self._open(named, provider, workers)
        except (ModelError, ProviderError) as error:  # a run may have no model that suits the provider
            if not fallback or provider == "cpu" or provider not in PROVIDERS:
                raise
            self.refusal = str(error)
            self._open(named, "cpu", workers)

    def _open(self, model: Path | None, provider: Provider, workers: int) -> None:
        self.path, self.provider = find_model(model, provider=provider), provider
        self.workers = min(workers, self.threads) if provider == "cpu" else 1
        # onnxruntime's pool holds one thread fewer than it is told, as the caller computes too: here each worker.
        threads = self.threads - self.workers + 1
        session = open_session(self.path, provider=provider, threads=threads, spinning=self.spinning, check=self._check)
        self.spec = read_spec(session, str(self.path))
        self._runner: Runner | None = Runner(session, provider)
        if provider != "cpu":
            # Some libraries are missed no sooner than when they are used.
            size = self.spec.preprocessing.size
            self._runner(np.zeros((1, size, size, 3), np.uint8))

    def __reduce__(self) -> tuple[Callable[..., "Predictor"], tuple[Any, ...]]:
        settings = {
            "provider": self.provider,
            "fallback": self._fallback,
            "threads": self._asked_threads,
            "workers": self.workers,
            "spinning": self.spinning,
            "check": self._check,
        }
        return _reopen, (self.path.absolute(), settings, self.refusal)

    def __repr__(self) -> str:
        return f"Predictor({str(self.path)!r}, provider={self.provider!r})"

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def session(self) -> InferenceSession:
        """The onnxruntime session, for what this class does not offer."""
        return self._opened.session

    @property
    def _opened(self) -> Runner:
        if self._runner is None:
            raise ValueError("this Predictor is closed; make a new one")
        return self._runner

    def close(self) -> None:
        """Frees the session's memory; the predictor cannot be used afterwards."""
        self._runner = None

    def predict(self, image: ImageSource) -> Prediction:
        """Answers for one image: of a DICOM file with several frames, for the first.

        Args:
            image: Anything that `ctonnx.images.load` takes.

        Raises:
            ImageError: it cannot be turned into pixels.
            ProviderError: The answer is not a number.
        """
        try:
            loaded = load(image, window=self.spec.dicom_window)
            pixels = to_pixels(loaded, self.spec.preprocessing)
        except MemoryError as error:
            raise ImageError(_NO_MEMORY, _name(image)) from error
        caution = caution_of(loaded, pixels, self.spec.preprocessing)
        record = self._record(_name(image), self.predict_pixels(pixels[None]), 0, caution=caution)
        if isinstance(record, Failure):
            raise ProviderError(f"{record.source}: {record.error}")
        return record

    def predict_many(
        self, images: Iterable[ImageSource], *, batch_size: int | None = None, watch: Watch | None = None
    ) -> Iterator[Record]:
        """Answers for many images, in their order, while a few threads decode ahead.

        Memory stays bounded whatever the number of images: at most three batches a thread are under way, of which each
        thread decodes one. The iterator may be abandoned at any time; its threads end with it. Every frame of a
        multi-frame DICOM file has its own record, named `FILE#1`, `FILE#2` and so on.

        Args:
            images: Anything that `ctonnx.images.load` takes, mixed as you like.
            batch_size: how many images the model is given at a time; None takes what is fastest as a rule: 4 on a CPU,
                32 elsewhere.
            watch: for what needs the decoded images too, as a picture of the answer does, and would else read each file
                a second time. Called with each decoded image (mode `L` or `RGB`); what it returns is called with
                that image's prediction, if it gets one, before this is yielded. Both happen in the threads that decode,
                and what they raise comes out of the iterator. Many images may be under way: keep no large ones.

        Yields:
            A `Prediction`, or a `Failure` where an image cannot be read.

        Raises:
            TypeError: One path or one file's bytes was given.
            ValueError: `batch_size` is below 1, or the predictor was closed meanwhile.
            NotEnoughMemory: there is too little for a batch or for the threads.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError(f"expected several images, found one: {images!r}; put it in a list, or call predict")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"expected a batch size of at least 1, found {batch_size}")
        return self._stream(iter(images), batch_size or PROVIDERS[self.provider].batch_size, watch)

    def predict_pixels(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Answers for pixels that are ready, with nothing between them and the session.

        Args:
            pixels: uint8 [batch, size, size, 3], as `ctonnx.images.to_pixels` makes them.

        Raises:
            ValueError: Another dtype or shape.
        """
        self._refuse_other(pixels)
        return self._opened(pixels)

    def submit_pixels(self, pixels: NDArray[np.uint8]) -> "Future[Outputs]":
        """Begins to answer for pixels that are ready, in one of the session's own threads, and returns at once.

        The session has `threads - workers` of its own, which else help with every batch. Where several batches are
        computed at a time, one by `predict_pixels` and the others so, each has a core, and none waits for another's.

        Args:
            pixels: uint8 [batch, size, size, 3], as `ctonnx.images.to_pixels` makes them.

        Returns:
            The outputs, in time, or the error that there was.

        Raises:
            ValueError: Another dtype or shape, or the session has no threads of its own: its provider is not `cpu`, or
                there are no more threads than workers.
        """
        self._refuse_other(pixels)
        if self.provider != "cpu" or self.threads == self.workers:
            raise ValueError(
                f"expected a session on cpu with more threads than workers, found {self.threads} and {self.workers} on "
                f"{self.provider}: it has none of its own that could compute a batch"
            )
        return self._opened.submit(pixels)

    def _refuse_other(self, pixels: NDArray[np.uint8]) -> None:
        size = self.spec.preprocessing.size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
            raise ValueError(
                f"expected uint8 pixels of shape [batch, {size}, {size}, 3], found {pixels.dtype} {list(pixels.shape)}"
            )

    def _stream(self, images: Iterator[ImageSource], batch_size: int, watch: Watch | None) -> Iterator[Record]:
        # A thread decodes its batch and then gives it to the model: with one worker, others decode meanwhile.
        threads = self.workers if self.workers > 1 else 1 + min(_DECODERS, available_cores())
        running = Semaphore(self.workers)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="ctonnx-worker")
        try:
            ahead: deque[Future[list[Record]]] = deque()
            failure: Exception | None = None
            while True:
                try:
                    while not failure and len(ahead) < _AHEAD * threads and (batch := list(islice(images, batch_size))):
                        with enough_memory(f"start {threads} threads that read images"):
                            ahead.append(pool.submit(self._answer, batch, batch_size, running, watch))
                except NotEnoughMemory:
                    raise
                except Exception as error:  # of the caller's own iterator: what is under way is answered first
                    failure = error
                if not ahead:
                    break
                for record in ahead.popleft().result():
                    self._opened  # noqa: B018 - where it was closed meanwhile, it raises, and nothing goes on
                    yield record
            if failure:
                raise failure
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _answer(
        self, images: Sequence[ImageSource], batch_size: int, running: Semaphore, watch: Watch | None
    ) -> list[Record]:
        records: list[Record] = []
        decoded = (item for image in images for item in self._decode(image, watch))
        while batch := list(islice(decoded, batch_size)):
            outputs: Outputs | None = None
            if pixels := [item.pixels for item in batch if not isinstance(item, Failure)]:
                with running:
                    outputs = self._opened(pixels)
            rows = iter(range(len(pixels)))
            for item in batch:
                if isinstance(item, Failure):
                    records.append(item)
                elif outputs is not None:
                    record = self._record(item.source, outputs, next(rows), item.frame, item.caution)
                    if item.tell is not None and isinstance(record, Prediction):
                        item.tell(record)
                    records.append(record)
        return records

    def _decode(self, image: ImageSource, watch: Watch | None) -> Iterator["_Decoded | Failure"]:
        """Yields the pixels of an image, or of each frame of one with several."""
        name = _name(image)
        try:
            for frame, found in load_frames(image, window=self.spec.dicom_window):
                source = name if frame is None else f"{name}#{frame + 1}"
                if isinstance(found, ImageError):
                    yield Failure(source, found.reason, frame)
                else:
                    tell = None if watch is None else watch(found.image)
                    pixels = to_pixels(found, self.spec.preprocessing)
                    yield _Decoded(source, pixels, frame, caution_of(found, pixels, self.spec.preprocessing), tell)
        except ImageError as error:
            yield Failure(name, error.reason)
        except MemoryError:
            yield Failure(name, _NO_MEMORY)

    def _record(
        self, source: str, outputs: Outputs, row: int, frame: int | None = None, caution: str | None = None
    ) -> Record:
        found = answer(self.spec, outputs, row, source=source, frame=frame, caution=caution)
        return found or Failure(
            source,
            f"the model's answer on {self.provider} is not a number, as where values leave fp16's range; see "
            f"whether it computes there what it should: ctonnx verify {self.path} --provider {self.provider}",
            frame,
        )


def _reopen(path: Path, settings: Mapping[str, Any], refusal: str | None) -> Predictor:
    predictor = Predictor(path, **settings)
    predictor.refusal = predictor.refusal or refusal
    return predictor


def _name(image: ImageSource) -> str:
    if isinstance(image, bytes | np.ndarray):
        return "bytes in memory" if isinstance(image, bytes) else "array"
    if isinstance(image, Scan):
        image = image.image
    if isinstance(image, Image.Image):
        return getattr(image, "filename", "") or "image in memory"
    return os.fsdecode(image) if isinstance(image, str | os.PathLike) else type(image).__name__  # load refuses others
