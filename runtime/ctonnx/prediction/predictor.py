"""Predictor of the slim runtime: images in, class probabilities and heatmaps out, with onnxruntime and no PyTorch."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from ctonnx.artifacts.provenance.trust import read_signed
from ctonnx.errors import ImageError, ModelError, ProviderError
from ctonnx.images import load, to_pixels
from ctonnx.images.source import ImageSource
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.inference.runner import Runner
from ctonnx.inference.session import open_session, read_spec
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.cautions import caution_of
from ctonnx.prediction.model_selection import find_model
from ctonnx.prediction.results import Prediction, Record, prediction_of
from ctonnx.prediction.streaming import NO_MEMORY, Stream, Watch, name_of
from ctonnx.system.cpu import available_cores, check_threads
from ctonnx.system.files import sha256_of

__all__ = ["Predictor"]


class Predictor:
    """Runs one exported model.

    It may be used from several threads at a time, and pickled: the copy opens the same file.

    >>> Predictor("runs/lungs/export/model.fp32.onnx")  # doctest: +SKIP
    Predictor('runs/lungs/export/model.fp32.onnx', provider='cpu')

    Args:
        model: An `.onnx` file, or the folder of a run; None uses the newest run with an export below `./runs`.
        provider: Execution provider, one of `ctonnx.inference.providers.PROVIDERS`. No other one is used unless
            `fallback` is set.
        fallback: Whether the CPU, with the model that suits it, is used if the provider does not run.
        threads: Number of threads of the model in all; None uses all available cores.
        workers: Number of batches that a CPU computes at a time, at most one per thread; further threads help with any
            of them. One worker has the lowest latency for one image, and as many as there are threads the highest
            throughput for many images (`ctonnx.prediction.streaming.workers_for`). Other providers have one.
        spinning: Whether idle threads look for work for a while, which keeps the cores from other processes; False
            makes them sleep after 50 microseconds, with the same latency if no other session runs.
        check: Whether a file whose checksum shows damage or a change since its export is rejected.
        trust: PEM files of public keys. The owner of one of them must have signed the model's folder (`ctonnx sign`),
            and the bytes that were signed are opened. With none, signatures are ignored. Needs the extra `sign`.

    Attributes:
        path: Model file.
        provider: Provider that runs it.
        refusal: Reason why the requested provider does not run, if the CPU is used instead; else None.
        threads: Number of threads in all.
        workers: Number of batches at a time.
        spinning: Whether idle threads look for work.
        spec: Spec of the model.
        signed_by: Fingerprint of the trusted key that signed the model; None without `trust`.
        signed_sha256: SHA-256 of the signed bytes that were opened; None without `trust`.

    Raises:
        ModelError: If no model was found, or it is damaged, has no spec, or has operators that no export has.
        SignatureError: If no trusted key signed the model, or its folder is not as it was signed.
        ProviderError: If the provider does not run here and `fallback` is not set.
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
        trust: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        if workers < 1:
            raise ValueError(f"expected at least 1 worker, found {workers}")
        check_threads(threads)
        self._settings: dict[str, Any] = {
            "fallback": fallback,
            "threads": threads,
            "spinning": spinning,
            "check": check,
        }
        self._trust = tuple(Path(key) for key in ([trust] if isinstance(trust, str | os.PathLike) else trust))
        self.threads, self.spinning = threads or available_cores(), spinning
        self.refusal: str | None = None
        named = None if model is None else Path(model)
        try:
            self._open(named, provider, workers, check)
        except (ModelError, ProviderError) as error:  # a run may have no model that suits the provider
            if not fallback or provider == "cpu" or provider not in PROVIDERS:
                raise
            self.refusal = str(error)
            self._open(named, "cpu", workers, check)

    def _open(self, model: Path | None, provider: Provider, workers: int, check: bool) -> None:
        self.path, self.provider = find_model(model, provider=provider), provider
        self.workers = min(workers, self.threads) if provider == "cpu" else 1
        # onnxruntime's pool has one thread less than requested, as the caller computes too: here, each worker.
        threads = self.threads - self.workers + 1
        content, self.signed_by, self.signed_sha256 = None, None, None
        if self._trust:
            content, signed = read_signed(self.path, self._trust)
            self.signed_by, self.signed_sha256 = signed.key, signed.files[self.path.resolve().name]
        session = open_session(
            self.path, content=content, provider=provider, threads=threads, spinning=self.spinning, check=check
        )
        del content
        self.spec = read_spec(session, str(self.path), one_image_a_run=PROVIDERS[provider].one_image_a_run)
        self._runner: Runner | None = Runner(session, provider)
        if provider != "cpu":
            size = self.spec.preprocessing.size
            self._runner(np.zeros((1, size, size, 3), np.uint8))  # some missing libraries are only noticed in use

    def __reduce__(self) -> tuple[Callable[[], "Predictor"], tuple[()], dict[str, str] | None]:
        path, settings = self.path.absolute(), {**self._settings, "provider": self.provider, "workers": self.workers}
        settings["trust"] = [key.absolute() for key in self._trust]
        return partial(Predictor, path, **settings), (), {"refusal": self.refusal} if self.refusal else None

    def __repr__(self) -> str:
        return f"Predictor({str(self.path)!r}, provider={self.provider!r})"

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def session(self) -> InferenceSession:
        """The onnxruntime session, for what this class does not offer."""
        return self._open_runner().session

    @property
    def sha256(self) -> str:
        """SHA-256 of the model: `signed_sha256`, or that of the file as it is now.

        Raises:
            OSError: If the file cannot be read.
        """
        return self.signed_sha256 or sha256_of(self.path)

    def _open_runner(self) -> Runner:
        if self._runner is None:
            raise ValueError("this Predictor is closed; make a new one")
        return self._runner

    def close(self) -> None:
        """Frees the session's memory; the predictor cannot be used any more."""
        self._runner = None

    def predict(self, image: ImageSource) -> Prediction:
        """Predicts one image: of a DICOM file with several frames, the first.

        Args:
            image: Any source that `ctonnx.images.load` accepts.

        Raises:
            ImageError: If the image cannot be read.
            ProviderError: If the model's outputs are not finite.
        """
        name = name_of(image)
        try:
            scan = load(image, window=self.spec.dicom_window)
            pixels = to_pixels(scan, self.spec.preprocessing)
        except MemoryError as error:
            raise ImageError(NO_MEMORY, name) from error
        caution = caution_of(scan, pixels, self.spec.preprocessing, self.spec.brightness)
        found = prediction_of(self.spec, self.predict_pixels(pixels[None]), 0, source=name, caution=caution)
        if found is None:
            raise ProviderError(f"{name}: {self._not_finite()}")
        return found

    def predict_many(
        self, images: Iterable[ImageSource], *, batch_size: int | None = None, watch: Watch | None = None
    ) -> Iterator[Record]:
        """Predicts many images, in order, while a few threads decode ahead.

        Memory stays bounded for any number of images: at most three batches per thread are in progress, one of which is
        being decoded. The iterator may be abandoned at any time; its threads end with it. Each frame of a multi-frame
        DICOM file has a record of its own, named `FILE#1`, `FILE#2` and so on.

        Args:
            images: Sources that `ctonnx.images.load` accepts, of any kinds.
            batch_size: Number of images per batch; None uses the provider's default: 4 on a CPU or an NPU, else 32.
            watch: Called with each decoded image, of mode `L` or `RGB`, for a caller that would otherwise read each
                file again, such as one that draws the prediction. Returns a function, which is called with the image's
                prediction, if there is one, before that is yielded. Both are called in the decoding threads, and the
                iterator raises their errors. Many images may be in progress: keep no large ones.

        Yields:
            A `Prediction`, or a `Failure` if the image cannot be read.

        Raises:
            TypeError: If one path or the bytes of one file were passed.
            ValueError: If `batch_size` is below 1, or the predictor was closed.
            NotEnoughMemory: If the memory does not suffice for a batch or for the threads.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError(f"expected several images, found one: {images!r}; put it in a list, or call predict")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"expected a batch size of at least 1, found {batch_size}")
        stream = Stream(
            run=lambda pixels: self._open_runner()(pixels),
            check_open=self._open_runner,
            spec=self.spec,
            not_finite=self._not_finite(),
            workers=self.workers,
            batch_size=batch_size or PROVIDERS[self.provider].batch_size,
            watch=watch,
        )
        return stream.records(iter(images))

    def predict_pixels(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Runs the session on preprocessed pixels, without any other step.

        Args:
            pixels: uint8 [batch, size, size, 3], as returned by `ctonnx.images.to_pixels`.

        Raises:
            ValueError: If the dtype or shape is another one.
        """
        self._check_pixels(pixels)
        return self._open_runner()(pixels)

    def submit_pixels(self, pixels: NDArray[np.uint8]) -> "Future[Outputs]":
        """Runs the session on preprocessed pixels in one of its own threads: returns a future of the outputs.

        The session has `threads - workers` threads of its own, which else help with every batch. If several batches are
        computed at a time, one by `predict_pixels` and the others by this method, each has a core and none waits for
        another.

        Args:
            pixels: uint8 [batch, size, size, 3], as returned by `ctonnx.images.to_pixels`.

        Raises:
            ValueError: If the dtype or shape is another one, or the session has no threads of its own: its provider is
                not `cpu`, or it has no more threads than workers.
        """
        self._check_pixels(pixels)
        if self.provider != "cpu" or self.threads == self.workers:
            raise ValueError(
                f"expected a session on cpu with more threads than workers, found {self.threads} and {self.workers} on "
                f"{self.provider}: it has no thread of its own to compute a batch"
            )
        return self._open_runner().submit(pixels)

    def _check_pixels(self, pixels: NDArray[np.uint8]) -> None:
        size = self.spec.preprocessing.size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
            raise ValueError(
                f"expected uint8 pixels of shape [batch, {size}, {size}, 3], found {pixels.dtype} {list(pixels.shape)}"
            )

    def _not_finite(self) -> str:
        return (
            f"the model's outputs on {self.provider} are not finite, as if values exceed the range of FP16; to compare "
            f"its outputs with PyTorch's: ctonnx verify {self.path} --provider {self.provider}"
        )
