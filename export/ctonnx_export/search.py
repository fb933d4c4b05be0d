"""The search for an INT8 model that agrees with its FP32 original: calibrators, residual adds, layers left in float."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx import rounding
from ctonnx.outputs import OUTPUT_NAMES, Outputs
from ctonnx.parity import GATES, AccuracyChange, BrokenBound, Gate, Parity, accuracy_change, compare
from ctonnx.remaining import duration
from ctonnx.spec import ModelSpec
from ctonnx_export.correction import BiasCorrection
from ctonnx_export.noise import noisiest
from ctonnx_export.quantization import Scheme, Target, quantize
from ctonnx_export.ranges import CALIBRATORS, Ranges
from ctonnx_export.samples import BATCH, Images
from ctonnx_export.sessions import open_model

__all__ = ["Attempt", "Compared", "Search", "Suspicion", "Trial", "search", "shown", "try_model"]

_TIMED = 15
_NOISE_IMAGES = 16  # which tell the layers apart; every convolution answers for them once
_MOST_EXCLUDED = 16  # of 53 convolutions: a model with more of them in float is hardly an INT8 model


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """On how many images a candidate answers "suspicious" otherwise than its reference.

    Attributes:
        lost: suspicious to the reference, and not to the candidate.
        gained: suspicious to the candidate alone.
    """

    lost: int
    gained: int


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a candidate is compared with.

    Attributes:
        parts: the images, in parts: the validation images first.
        reference: the FP32 model's answers for all of them.
        spec: the FP32 model's, whose operating point is looked at; None looks at none.
    """

    parts: tuple[Images, ...]
    reference: Outputs
    spec: ModelSpec | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each image."""
        return np.concatenate([part.labels for part in self.parts])

    @property
    def counts(self) -> dict[str, int]:
        """How many images there are of each split."""
        return {split: len(part) for split, part in zip(("valid", "train"), self.parts, strict=False)}

    def changed_suspicion(self, outputs: Outputs) -> Suspicion | None:
        """Returns on how many images "suspicious" is answered otherwise; None without an operating point."""
        if self.spec is None or self.spec.operating_point is None:
            return None
        ours, theirs = (
            self.spec.operating_point.calls(answers.probabilities, self.spec.classes)
            for answers in (self.reference, outputs)
        )
        return Suspicion(lost=int((ours & ~theirs).sum()), gained=int((theirs & ~ours).sum()))

    def batches(self, count: int = BATCH) -> Iterator[NDArray[np.uint8]]:
        """Yields the images, at most `count` at a time: uint8 [images, size, size, 3]."""
        for part in self.parts:
            yield from part.batches(count)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a candidate did.

    Attributes:
        parity: with the FP32 model's answers on all images.
        change: of the accuracy on all images.
        validation: of the accuracy on the validation images alone.
        suspicion: on how many images "suspicious" is answered otherwise; None without an operating point.
        milliseconds: for one image, on this machine; a median of a few runs, good for a comparison within one table.
        bytes: of the file.
        broken: the bounds of the gate that it does not keep.
    """

    parity: Parity
    change: AccuracyChange | None = None
    validation: AccuracyChange | None = None
    suspicion: Suspicion | None = None
    milliseconds: float
    bytes: int
    broken: tuple[BrokenBound, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """A phrase for each bound that is broken."""
        return tuple(bound.phrase for bound in self.broken)

    @property
    def summary(self) -> str:
        """Its figures in one line, and each bound that it does not keep, with what was found and what is allowed."""
        verdict = f"rejected: {'; '.join(self.failures)}" if self.broken else "passes"
        usual = GATES["int8"]  # the verdict names a bound that the user chose
        agreement = rounding.shown(self.parity.agreement, usual.min_agreement, digits=2, form="%")
        heatmaps = rounding.shown(self.parity.heatmap_correlation, usual.min_heatmap_correlation, digits=4, form="f")
        return f"agreement {agreement}, mean |dp| {self.parity.mean_dp:.3g}, heatmaps {heatmaps}: {verdict}"

    def as_dict(self) -> dict[str, Any]:
        """Returns what the report keeps of it."""
        return {
            "parity": self.parity.as_dict(),
            "accuracy": self.change and self.change.as_dict(),
            "accuracy_on_validation": self.validation and self.validation.as_dict(),
            "changed_suspicion": self.suspicion and asdict(self.suspicion),
            "milliseconds": round(self.milliseconds, 2),
            "bytes": self.bytes,
            "failures": list(self.failures),
        }


@dataclass(frozen=True)
class Attempt:
    """A quantized candidate.

    Attributes:
        scheme: how it was quantized.
        trial: how it did.
    """

    scheme: Scheme
    trial: Trial

    @property
    def score(self) -> tuple[float, float, float]:
        """What makes it better than another: nearer to the gate, or within it; then agreement, then mean |dp|."""
        excess = sum(bound.excess for bound in self.trial.broken)
        return -excess, self.trial.parity.agreement, -self.trial.parity.mean_dp

    def as_dict(self) -> dict[str, Any]:
        """Returns what the report keeps of it."""
        return {**self.scheme.as_dict(), **self.trial.as_dict()}


@dataclass(frozen=True, kw_only=True)
class Search:
    """What came of a search.

    Attributes:
        model: the one chosen, whether it passes the gate or not.
        scheme: how it was quantized.
        attempts: all, in their order.
    """

    model: onnx.ModelProto
    scheme: Scheme
    attempts: tuple[Attempt, ...]


def search(
    model: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    compared: Compared,
    gate: Gate,
    *,
    target: Target = "x86",
    say: Callable[[str], None] = lambda line: None,
) -> Search:
    """Looks for the INT8 model that agrees best.

    Every calibrator is tried with residual adds in integers, and where none passes the gate, with residual adds in
    float, which are slower; each with its bias corrected. Of those that pass, the one with the best agreement is taken,
    then that with the least mean |dp|. Where none passes, the layers of the one nearest to the gate go back to float
    one by one, those that change the answers most first, until it does.

    Args:
        model: in FP32, with shapes inferred; not changed.
        ranges: of its activations.
        correction: that each candidate gets.
        compared: what the candidates are compared with.
        gate: that is to be passed.
        target: where the model is to run.
        say: called with a line for each trial.
    """
    attempts: list[Attempt] = []

    def candidate(scheme: Scheme) -> onnx.ModelProto:
        quantized = quantize(model, ranges, scheme)
        correction.apply(quantized)
        return quantized

    start = time.perf_counter()

    def attempt(scheme: Scheme, number: int, most: int, at_most: str = "") -> Attempt:
        made = Attempt(scheme, try_model(candidate(scheme), compared, gate))
        attempts.append(made)
        left = _time_left((time.perf_counter() - start) / len(attempts) * (most - number), attempts, at_most)
        say(f"int8, {number} of {at_most}{most}: {scheme.label}: {made.trial.summary}{left}")
        return made

    say(f"int8: looking for a model with {gate.summary}")
    for integer_adds in (True, False):
        if all(made.trial.broken for made in attempts):
            for number, calibrator in enumerate(CALIBRATORS, 1):
                scheme = Scheme(target=target, calibrator=calibrator, integer_adds=integer_adds)
                attempt(scheme, number, len(CALIBRATORS))
    best = max(attempts, key=lambda made: made.score)
    if best.trial.broken:
        order = _noisiest(model, ranges, best.scheme, compared.parts[0])
        most = min(_MOST_EXCLUDED, len(order))
        say(f"int8: none passes; up to {most} layers of the nearest go back to float, which change the answers most")
        for count in range(1, most + 1):
            scheme = replace(best.scheme, excluded=order[:count])
            if not attempt(scheme, count, most, "at most ").trial.broken:
                break
        best = max(attempts, key=lambda made: made.score)
    return Search(model=candidate(best.scheme), scheme=best.scheme, attempts=tuple(attempts))


def _time_left(seconds: float, attempts: list[Attempt], at_most: str) -> str:
    """Returns how long the attempts that are planned will take, and whether more may come; nothing after the last."""
    if not seconds or (at_most and not attempts[-1].trial.broken):
        return ""
    more = "" if at_most or not all(made.trial.broken for made in attempts) else ", more if none passes"
    return f"; {at_most or 'about '}{duration(seconds)} left{more}"


def _noisiest(model: onnx.ModelProto, ranges: Ranges, scheme: Scheme, images: Images) -> tuple[str, ...]:
    """Returns the convolutions, those that change the answers for a few of the images most first."""
    count = min(_NOISE_IMAGES, len(images))
    few = images.pixels(np.arange(count) * len(images) // count)
    total = sum(node.op_type == "Conv" for node in model.graph.node)
    with tqdm(total=total, desc="which layers matter", unit="layer", leave=False, disable=None) as bar:
        return noisiest(model, ranges, scheme, few, progress=bar.update)


def shown(what: str, *parts: Images, count: int = BATCH) -> Iterator[NDArray[np.uint8]]:
    """Yields the pixels of images, uint8 [images, size, size, 3]; on a terminal a bar tells how long it takes still.

    Args:
        what: is done with them.
        parts: the images.
        count: at a time, at most.
    """
    total = sum(map(len, parts))
    with tqdm(total=total, desc=what, unit="image", leave=False, disable=None) as bar:
        for part in parts:
            for pixels in part.batches(count):
                yield pixels
                bar.update(len(pixels))


def try_model(model: onnx.ModelProto, compared: Compared, gate: Gate) -> Trial:
    """Returns how a model does against its reference.

    Args:
        model: to be tried on the CPU.
        compared: the images and the reference's answers.
        gate: whose bounds are looked at.
    """
    session = open_model(model)
    batches = shown("comparing", *compared.parts)
    outputs = Outputs.concatenate([Outputs(*session.run(OUTPUT_NAMES, {"pixels": pixels})) for pixels in batches])
    parity = compare(compared.reference, outputs)
    change = accuracy_change(compared.reference, outputs, compared.labels)
    first = len(compared.parts[0])
    validation = accuracy_change(compared.reference[:first], outputs[:first], compared.labels[:first])
    one = {"pixels": compared.parts[0].pixels([0])}
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        session.run(OUTPUT_NAMES, one)
        seconds.append(time.perf_counter() - start)
    return Trial(
        parity=parity,
        change=change,
        validation=validation,
        suspicion=compared.changed_suspicion(outputs),
        milliseconds=statistics.median(seconds) * 1000,
        bytes=model.ByteSize(),
        broken=gate.broken(parity, change, validation),
    )
