"""The slim predictor: images in, class probabilities and heatmaps out, with onnxruntime alone."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from PIL import Image

from ctonnx.errors import ImageError
from ctonnx.images import ImageSource, load, to_pixels
from ctonnx.outputs import OUTPUT_NAMES, Outputs
from ctonnx.runs import find_model
from ctonnx.session import Provider, available_cores, open_session, read_spec

__all__ = ["Failure", "Prediction", "Predictor", "Record"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one image.

    Attributes:
        source: the path as it was given, or what kind of object was given.
        probabilities: of each class, from the most probable to the least.
        logits: float32 [classes], in the order of the spec's classes.
        heatmap: float32 [classes, size / 32, size / 32], in the order of the spec's classes.
        suspicious: whether the spec's operating point calls the image so; None where the model has none.
    """

    source: str
    probabilities: Mapping[str, float]
    logits: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    suspicious: bool | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """The probability of `label`, 0 to 1."""
        return next(iter(self.probabilities.values()))

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns the `count` most probable classes with their probabilities, the most probable first."""
        return list(islice(self.probabilities.items(), count))

    def as_dict(self) -> dict[str, Any]:
        """Returns what a JSON document holds: all but the arrays."""
        return {
            "file": self.source,
            "label": self.label,
            "probability": self.probability,
            "suspicious": self.suspicious,
            "probabilities": dict(self.probabilities),
            "error": None,
        }


@dataclass(frozen=True)
class Failure:
    """The record of an image that could not be read, in the place where its answer would stand.

    Attributes:
        source: the path as it was given, or what kind of object was given.
        error: what is wrong with it.
    """

    source: str
    error: str

    def as_dict(self) -> dict[str, Any]:
        """Returns a dictionary with the keys of `Prediction.as_dict`."""
        return {
            "file": self.source,
            "label": None,
            "probability": None,
            "suspicious": None,
            "probabilities": {},
            "error": self.error,
        }


Record: TypeAlias = Prediction | Failure
"""What `Predictor.predict_many` yields for each image."""

_Decoded: TypeAlias = "tuple[str, NDArray[np.uint8]] | Failure"


class Predictor:
    """Runs one exported model.

    >>> Predictor("runs/lungs/export/model.fp32.onnx")  # doctest: +SKIP
    Predictor('runs/lungs/export/model.fp32.onnx', provider='cpu')

    Args:
        model: an `.onnx` file, or a run's folder; None takes the newest run below `./runs`.
        provider: `cpu` or `cuda`; the one asked for is the one that runs.
        threads: for the session; None takes every core that this process may use.

    Attributes:
        path: the file that is used.
        provider: the provider that runs it.
        spec: what the model says about itself.

    Raises:
        ModelError: no model was found, or it is damaged or carries no spec.
        ProviderError: the provider cannot run here.
    """

    def __init__(
        self, model: str | os.PathLike[str] | None = None, *, provider: Provider = "cpu", threads: int | None = None
    ) -> None:
        self.path = find_model(None if model is None else Path(model), provider=provider)
        self.provider = provider
        self._session: InferenceSession | None = open_session(self.path, provider=provider, threads=threads)
        self.spec = read_spec(self.session, str(self.path))

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
        if self._session is None:
            raise ValueError("this Predictor is closed; make a new one")
        return self._session

    def close(self) -> None:
        """Frees the session's memory; the predictor cannot be used afterwards."""
        self._session = None

    def predict(self, image: ImageSource) -> Prediction:
        """Answers for one image.

        Args:
            image: anything that `ctonnx.images.load` takes.

        Raises:
            ImageError: it cannot be turned into pixels.
        """
        pixels = to_pixels(load(image), self.spec.preprocessing)
        return self._prediction(_name(image), self.predict_pixels(pixels[None]), 0)

    def predict_many(self, images: Iterable[ImageSource], *, batch_size: int = 8) -> Iterator[Record]:
        """Answers for many images, in their order, while a few threads decode ahead.

        Memory stays bounded whatever the number of images: at most four batches are held. The iterator may be
        abandoned at any time; its threads end with it.

        Args:
            images: anything that `ctonnx.images.load` takes, mixed as you like.
            batch_size: how many images the model is given at a time.

        Yields:
            A `Prediction`, or a `Failure` where an image cannot be read.

        Raises:
            TypeError: one path or one file's bytes was given.
            ValueError: `batch_size` is below 1.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError(f"expected several images, found one: {images!r}; put it in a list, or call predict")
        if batch_size < 1:
            raise ValueError(f"expected a batch size of at least 1, found {batch_size}")
        return self._stream(iter(images), batch_size)

    def predict_pixels(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Answers for pixels that are ready, with nothing between them and the session.

        Args:
            pixels: uint8 [batch, size, size, 3], as `ctonnx.images.to_pixels` makes them.

        Raises:
            ValueError: another dtype or shape.
        """
        size = self.spec.preprocessing.size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
            raise ValueError(
                f"expected uint8 pixels of shape [batch, {size}, {size}, 3], found {pixels.dtype} {list(pixels.shape)}"
            )
        return Outputs(*self.session.run(OUTPUT_NAMES, {"pixels": pixels}))

    def _stream(self, images: Iterator[ImageSource], batch_size: int) -> Iterator[Record]:
        pool = ThreadPoolExecutor(min(4, available_cores()), thread_name_prefix="ctonnx-decode")
        try:
            ahead: deque[Future[_Decoded]] = deque()
            while True:
                for image in islice(images, 3 * batch_size - len(ahead)):
                    ahead.append(pool.submit(self._decode, image))
                if not ahead:
                    return
                yield from self._answer([ahead.popleft().result() for _ in range(min(batch_size, len(ahead)))])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _decode(self, image: ImageSource) -> _Decoded:
        try:
            return _name(image), to_pixels(load(image), self.spec.preprocessing)
        except ImageError as error:
            return Failure(_name(image), error.reason)

    def _answer(self, batch: list[_Decoded]) -> Iterator[Record]:
        decoded = [item for item in batch if not isinstance(item, Failure)]
        if decoded:
            outputs = self.predict_pixels(np.stack([pixels for _, pixels in decoded]))
            predictions = iter([self._prediction(name, outputs, row) for row, (name, _) in enumerate(decoded)])
        for item in batch:
            yield item if isinstance(item, Failure) else next(predictions)

    def _prediction(self, source: str, outputs: Outputs, row: int) -> Prediction:
        probabilities = outputs.probabilities[row].tolist()
        order = sorted(range(len(probabilities)), key=lambda index: -probabilities[index])
        named = {self.spec.classes[index]: probabilities[index] for index in order}
        point = self.spec.operating_point
        suspicious = None if point is None else bool(point.calls(outputs.probabilities[[row]], self.spec.classes)[0])
        return Prediction(source, named, outputs.logits[row], outputs.heatmap[row], suspicious)


def _name(image: ImageSource) -> str:
    if isinstance(image, bytes):
        return "bytes in memory"
    if isinstance(image, Image.Image):
        return getattr(image, "filename", "") or "image in memory"
    if isinstance(image, np.ndarray):
        return "array"
    return os.fsdecode(image)
