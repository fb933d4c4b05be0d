"""The provider that is fastest for a model on this device: measured once, and kept next to the model."""

import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.golden import FILE_NAME, load_golden
from ctonnx.artifacts.provenance.trust import check_signature
from ctonnx.errors import CheckFailed, CtonnxError, ModelError, ProviderError
from ctonnx.inference.diagnosis import overlaid_builds
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.inference.session import check_model_file
from ctonnx.prediction.device.candidates import Candidate, find_candidates, short_reason
from ctonnx.prediction.device.kept_choice import (
    KeptChoice,
    device_facts,
    keep_choice,
    kept_files,
    model_facts,
    read_choice,
)
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.model_selection import find_models
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.streaming import workers_for
from ctonnx.system.text import Log

__all__ = ["Choice", "fastest_provider"]

_Trust: TypeAlias = Sequence[str | os.PathLike[str]]

_ROUNDS = 5
_SECONDS = 0.4  # of a round
_LIMIT = 60.0  # seconds of a provider for its verification, and for its measurement


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The fastest provider, and how it was found.

    Attributes:
        provider: Name of the provider.
        model: Path of its model file.
        candidates: All providers that are installed, in the order of their listing.
        kept_in: File that has it from an earlier start; None if it was found now.
    """

    provider: Provider
    model: Path
    candidates: tuple[Candidate, ...]
    kept_in: Path | None = None

    @property
    def summary(self) -> str:
        """Provider and reason, in one line."""
        speeds = [(one.images_per_s, one.provider) for one in self.candidates if one.images_per_s is not None]
        measured = ", ".join(f"{provider} {speed:.1f}" for speed, provider in sorted(speeds, reverse=True))
        when = "now" if self.kept_in is None else "before"
        reasons = [f"measured {when}, images/s: {measured}"] if measured else []
        reasons += [f"without {one.provider}: {one.left_out}" for one in self.candidates if one.left_out is not None]
        again = "" if self.kept_in is None else f"; remove {self.kept_in} to measure again"
        return f"{self.provider} ({'; '.join(reasons) or 'the only provider that is installed'}){again}"


def fastest_provider(
    model: Path | None,
    *,
    threads: int | None = None,
    spinning: bool = True,
    trust: _Trust = (),
    log: Log = lambda line: None,
) -> Choice:
    """Returns the provider that predicts many images fastest here, of those that are installed.

    Each one runs the file that suits it best. One whose outputs do not pass `verify` is never chosen. The choice is
    kept for this model, device and settings, unless a provider was left out for a reason that may change. It is
    measured again if `ctonnx.prediction.device.kept_choice` finds a change, or the kept provider does not start. If
    only the CPU can run, nothing is measured or verified.

    Args:
        model: A file, a folder, a run's name, or None for the newest run with an export.
        threads: Number of threads; None uses all available cores.
        spinning: Whether idle threads spin in the measurement; see `Predictor`.
        trust: PEM files of public keys, of which one must have signed the model; see `Predictor`. The choice is then
            kept in the user's cache folder alone, as no signature covers a file next to the model.
        log: Called with messages.

    Raises:
        ModelError: If there is no such model, or its golden inputs are damaged.
        SignatureError: If no trusted key signed the model, or its folder is not as it was signed.
        CheckFailed: If no provider passes the verification.
    """
    first = find_models(model)[0]
    check_model_file(first)
    if trust:
        check_signature(first.resolve().parent, trust)
    if overlaid := overlaid_builds():
        log(f"warning: {overlaid}")
    found, paths = find_candidates(model)
    if list(paths) == ["cpu"]:  # it runs without --provider auto, too
        return Choice(provider="cpu", model=paths["cpu"], candidates=tuple(found))
    device = device_facts(threads=threads, spinning=spinning)
    files, facts = kept_files(model, device, beside_model=not trust), device + model_facts(found, paths)
    if (kept := read_choice(files, facts)) is not None:
        choice, file = kept
        path = paths[choice.provider]
        if (reason := _fault(choice.provider, path, threads, trust)) is None:
            return Choice(provider=choice.provider, model=path, candidates=choice.candidates, kept_in=file)
        log(f"{choice.provider}, which was the fastest before, does not start: {reason}")
    for file in {path.parent / FILE_NAME for path in paths.values()}:
        if file.is_file():
            load_golden(file)  # a damaged one is an error of its own, and not of each provider
    log(f"comparing {', '.join(paths)} for this model on this device")
    candidates = tuple(_compared(found, paths, threads=threads, spinning=spinning, trust=trust, log=log))
    usable = [one for one in candidates if one.left_out is None]
    if not usable:
        reasons = "; ".join(f"{one.provider}: {one.left_out}" for one in candidates)
        raise CheckFailed(f"expected a provider whose outputs agree with the model's original, found none ({reasons})")
    fastest = max(usable, key=lambda one: one.images_per_s or 0).provider
    if passing := [one.provider for one in candidates if one.may_change]:
        log(f"not kept for the next start, as {', '.join(passing)} may run then")
    else:
        log(keep_choice(files, KeptChoice(facts=facts, provider=fastest, candidates=candidates)))
    return Choice(provider=fastest, model=paths[fastest], candidates=candidates)


def _fault(provider: Provider, path: Path, threads: int | None, trust: _Trust) -> str | None:
    """Returns the reason why a provider does not start; None if it does, or is the CPU."""
    if provider != "cpu":
        try:
            Predictor(path, provider=provider, threads=threads, check=False, trust=trust).close()
        except CtonnxError as error:
            return short_reason(error)
    return None


def _compared(
    found: Sequence[Candidate],
    paths: dict[Provider, Path],
    *,
    threads: int | None,
    spinning: bool,
    trust: _Trust,
    log: Log,
) -> Iterator[Candidate]:
    """Yields the candidates after their verification and, if several passed, their measurement.

    Each has the device alone: sessions that are open together share its memory, and idle threads of one that spin take
    the cores from the next.
    """
    checked = []
    for one in found:
        if one.provider in paths:
            if (paths[one.provider].parent / FILE_NAME).is_file():
                log(f"verifying {one.provider}")
            one = _verified(one, paths[one.provider], threads, trust)
        checked.append(one)
    several = sum(one.left_out is None for one in checked) > 1
    for one in checked:
        if several and one.left_out is None:
            log(f"measuring {one.provider}")
            one = _measured(one, paths[one.provider], threads, spinning=spinning, trust=trust)
        yield one


def _verified(candidate: Candidate, path: Path, threads: int | None, trust: _Trust) -> Candidate:
    """Returns the candidate, left out if it does not agree with the model's original, or cannot run."""
    provider = candidate.provider
    if provider == "cpu" and not (path.parent / FILE_NAME).is_file():
        return candidate  # the others cannot be verified, and the CPU is the default
    start = time.monotonic()
    try:
        failures = verify(path, provider=provider, threads=threads, trust=trust).failures
        _check_limit(provider, start, "its verification")
    except CtonnxError as error:
        return _left_out(candidate, error)
    return replace(candidate, left_out=failures[0]) if failures else candidate


def _measured(candidate: Candidate, path: Path, threads: int | None, *, spinning: bool, trust: _Trust) -> Candidate:
    """Returns the candidate with its median throughput, or left out if it fails."""
    provider, workers, start = candidate.provider, workers_for(sys.maxsize, threads=threads), time.monotonic()
    try:
        with Predictor(
            path,
            provider=provider,
            threads=threads,
            workers=workers,
            spinning=spinning,
            check=False,
            trust=trust,
        ) as predictor:
            few = PROVIDERS[provider].batch_size * predictor.workers
            _seconds(predictor, few)  # the first run of a batch size may load and compile
            _check_limit(provider, start, "its first batches")
            rates = [few / _seconds(predictor, few)]
            count = max(few, round(rates[0] * _SECONDS))
            while len(rates) <= _ROUNDS and time.monotonic() - start < _LIMIT:
                rates.append(count / _seconds(predictor, count))
    except CtonnxError as error:
        return _left_out(candidate, error)
    return replace(candidate, images_per_s=statistics.median(rates[1:] or rates))


def _left_out(candidate: Candidate, error: CtonnxError) -> Candidate:
    """Returns the candidate with its error, which stays if it is one of the files."""
    may_change = not isinstance(error, ModelError | CheckFailed)
    return replace(candidate, left_out=short_reason(error), may_change=may_change)


def _check_limit(provider: Provider, start: float, step: str) -> None:
    """Raises ProviderError after a step that was too slow, except on the CPU, which is the default."""
    seconds = time.monotonic() - start
    if seconds > _LIMIT and provider != "cpu":
        raise ProviderError(f"{step} took {seconds:.0f} s, at most {_LIMIT:.0f} s were expected")


def _seconds(predictor: Predictor, count: int) -> float:
    size = predictor.spec.preprocessing.size
    image: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)
    start = time.perf_counter()
    for _ in predictor.predict_many(repeat(image, count)):
        pass
    return time.perf_counter() - start
