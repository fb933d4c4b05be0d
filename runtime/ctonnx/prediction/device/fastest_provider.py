"""The provider that is fastest for a model on this device: measured once, and kept next to the model.

model.int8.onnx -> model.int8.fastest.json; a folder -> fastest.json in it
"""

import platform
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.golden import FILE_NAME
from ctonnx.artifacts.run import names_a_file
from ctonnx.errors import CheckFailed, CtonnxError
from ctonnx.inference.plugins import find_device, is_built_in
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.model_selection import export_folder, find_model
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.streaming import workers_for
from ctonnx.system.cpu import available_cores, processor
from ctonnx.system.files import json_text, sha256_of, write_text
from ctonnx.system.packages import installed_builds, versions_of
from ctonnx.system.text import Log

__all__ = ["Candidate", "Choice", "choice_file", "fastest_provider"]

_SCHEMA_VERSION = 1
_ROUNDS = 5  # in turn, so that a busy moment is that of all
_SECONDS = 0.4  # of a round


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A provider that is installed, with the model file that suits it best.

    Attributes:
        provider: Name of the provider.
        model: Name of the file; empty if no file suits it.
        sha256: SHA-256 of the file, 64 hexadecimal digits; empty if there is none.
        images_per_s: Median throughput for many images; None if it was not measured.
        left_out: Reason why it cannot be chosen; None if it can.
    """

    provider: str
    model: str = ""
    sha256: str = ""
    images_per_s: float | None = None
    left_out: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The fastest provider, and how it was found.

    Attributes:
        provider: Name of the provider.
        model: Path of its model file.
        candidates: All providers that are installed, in the order of their listing.
        is_kept: Whether it was measured before.
    """

    provider: Provider
    model: Path
    candidates: tuple[Candidate, ...]
    is_kept: bool = False

    @property
    def summary(self) -> str:
        """Provider and reason, in one line."""
        measured = sorted(
            (one for one in self.candidates if one.images_per_s is not None), key=lambda one: -(one.images_per_s or 0)
        )
        speeds = ", ".join(f"{one.provider} {one.images_per_s:.1f}" for one in measured)
        reasons = [f"measured {'before' if self.is_kept else 'now'}, images/s: {speeds}"] if measured else []
        reasons += [f"without {one.provider}: {one.left_out}" for one in self.candidates if one.left_out is not None]
        return f"{self.provider} ({'; '.join(reasons) or 'the only provider that is installed'})"


@dataclass(frozen=True, kw_only=True)
class _Document:
    """Content of the file."""

    schema_version: int
    processor: str
    cores: int
    threads: int
    packages: tuple[str, ...]
    provider: str
    candidates: tuple[Candidate, ...]


def choice_file(model: Path | None) -> Path:
    """Returns the path of the kept choice for what `find_model` takes; the file may not exist.

    Raises:
        ModelError: If there is no such model.
    """
    if names_a_file(model):
        return model.with_suffix(".fastest.json")
    return export_folder(model) / "fastest.json"


def fastest_provider(model: Path | None, *, threads: int | None = None, log: Log = lambda line: None) -> Choice:
    """Returns the provider that predicts many images fastest here, of those that are installed.

    Each one runs the file that suits it best. One whose outputs do not pass `verify` is never chosen. The choice is
    kept for this model and device, and measured again if a file, a package, the processor or the number of threads
    changed. If the CPU is the only one, nothing is measured or verified.

    Args:
        model: A file, a folder, a run's name, or None for the newest run with an export.
        threads: Number of threads; None uses all available cores.
        log: Called with messages.

    Raises:
        ModelError: If there is no such model.
        CheckFailed: If no provider passes the verification.
    """
    file = choice_file(model)
    paths: dict[str, Path] = {}
    found = [_candidate(name, model, paths) for name in PROVIDERS if _is_installed(name)]
    device = _device(found, threads)
    if (kept := _read(file, device)) is not None:
        return Choice(
            provider=_provider(kept.provider), model=paths[kept.provider], candidates=kept.candidates, is_kept=True
        )
    usable = [one for one in found if one.left_out is None]
    if len(usable) == 1 and usable[0].provider == "cpu":  # it runs without --provider auto, too
        return Choice(provider="cpu", model=paths["cpu"], candidates=tuple(found))
    log(f"comparing {', '.join(one.provider for one in usable)} once for this model and device")
    checked = {one.provider: _verified(one, paths, threads) for one in usable}
    speeds = _speeds([one for one in checked.values() if one.left_out is None], paths, threads)
    candidates = tuple(replace(checked.get(one.provider, one), images_per_s=speeds.get(one.provider)) for one in found)
    if not speeds:
        reasons = "; ".join(f"{one.provider}: {one.left_out}" for one in candidates)
        raise CheckFailed(f"expected a provider whose outputs agree with the model's original, found none ({reasons})")
    fastest = _provider(max(speeds, key=lambda name: speeds[name]))
    document = replace(device, provider=fastest, candidates=candidates)
    with suppress(OSError):  # a folder that cannot be written: measured again the next time
        write_text(file, json_text(asdict(document)))
    return Choice(provider=fastest, model=paths[fastest], candidates=candidates)


def _is_installed(provider: Provider) -> bool:
    """Returns whether onnxruntime offers a provider, or a plugin a device for the provider."""
    facts = PROVIDERS[provider]
    if sys.platform not in facts.systems:
        return False
    return is_built_in(provider, onnxruntime) or find_device(provider, onnxruntime).state == "found"


def _candidate(provider: Provider, model: Path | None, paths: dict[str, Path]) -> Candidate:
    try:
        path = paths[provider] = find_model(model, provider=provider)
        return Candidate(provider=provider, model=path.name, sha256=sha256_of(path))
    except CtonnxError as error:
        return Candidate(provider=provider, left_out=_reason(error))


def _verified(candidate: Candidate, paths: dict[str, Path], threads: int | None) -> Candidate:
    """Returns the candidate, left out if it does not agree with the model's original, or cannot run."""
    provider = _provider(candidate.provider)
    path = paths[provider]
    if provider == "cpu" and not (path.parent / FILE_NAME).is_file():
        return candidate  # the others cannot be verified, and the CPU is the default
    try:
        failures = verify(path, provider=provider, threads=threads).failures
    except CtonnxError as error:
        return replace(candidate, left_out=_reason(error))
    return replace(candidate, left_out=failures[0]) if failures else candidate


def _speeds(candidates: Sequence[Candidate], paths: dict[str, Path], threads: int | None) -> dict[str, float]:
    """Returns the median throughput of each provider, in images per second."""
    with ExitStack() as stack:
        predictors = {
            one.provider: stack.enter_context(
                Predictor(
                    paths[one.provider],
                    provider=_provider(one.provider),
                    threads=threads,
                    workers=workers_for(sys.maxsize, threads=threads),
                    check=False,
                )
            )
            for one in candidates
        }
        counts = {name: _count(predictor) for name, predictor in predictors.items()}
        rates: dict[str, list[float]] = {name: [] for name in predictors}
        for _ in range(_ROUNDS):
            for name, predictor in predictors.items():
                rates[name].append(counts[name] / _seconds(predictor, counts[name]))
        return {name: statistics.median(found) for name, found in rates.items()}


def _count(predictor: Predictor) -> int:
    """Returns a number of images for a round, after two runs of a few: the first one loads and compiles."""
    few = 4 * PROVIDERS[predictor.provider].batch_size * predictor.workers
    _seconds(predictor, few)
    return max(few, round(few * _SECONDS / _seconds(predictor, few)))


def _seconds(predictor: Predictor, count: int) -> float:
    size = predictor.spec.preprocessing.size
    image: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)
    start = time.perf_counter()
    for _ in predictor.predict_many(repeat(image, count)):
        pass
    return time.perf_counter() - start


def _device(candidates: Sequence[Candidate], threads: int | None) -> _Document:
    """Returns the facts that a kept choice depends on, without a provider."""
    plugins = {facts.plugin.module for facts in PROVIDERS.values() if facts.plugin is not None}
    versions = chain(installed_builds().items(), versions_of(sorted(plugins)).items())
    return _Document(
        schema_version=_SCHEMA_VERSION,
        processor=processor().model or platform.machine(),
        cores=available_cores(),
        threads=threads or available_cores(),
        packages=tuple(sorted(f"{name} {version}" for name, version in versions)),
        provider="",
        candidates=tuple(candidates),
    )


def _read(file: Path, device: _Document) -> _Document | None:
    """Returns the kept choice if it is of this device and these files, else None."""
    try:
        kept = json_schema.load(_Document, file)
    except (OSError, ValueError):
        return None
    files = [(one.provider, one.model, one.sha256) for one in device.candidates]
    same = replace(kept, provider="", candidates=device.candidates) == device
    if not same or [(one.provider, one.model, one.sha256) for one in kept.candidates] != files:
        return None
    chosen = [one for one in kept.candidates if one.provider == kept.provider and one.left_out is None and one.sha256]
    return kept if chosen else None


def _provider(name: str) -> Provider:
    return next(provider for provider in PROVIDERS if provider == name)


def _reason(error: CtonnxError) -> str:
    return str(error).partition("\n")[0]
