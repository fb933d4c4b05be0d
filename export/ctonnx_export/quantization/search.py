"""The search for an INT8 model that agrees with its FP32 original: calibrators, residual adds, layers left in float."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from ctonnx.artifacts.spec import Target
from ctonnx.parity.gates import Gate
from ctonnx.system.text import Log, duration
from ctonnx_export.image_sets import ImageSet
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import CALIBRATORS, Ranges
from ctonnx_export.quantization.qdq import Scheme, quantize
from ctonnx_export.quantization.sensitivity import rank_by_sensitivity
from ctonnx_export.trial import ComparisonSet, Trial, try_model

__all__ = [
    "Attempt",
    "Search",
    "search",
]

_NOISE_IMAGES = 16  # which tell the layers apart; every convolution answers for them once
_MOST_EXCLUDED = 16  # of 53 convolutions: a model with more of them in float is hardly an INT8 model


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
        model: The one chosen, whether it passes the gate or not.
        scheme: how it was quantized.
        attempts: All, in their order.
    """

    model: onnx.ModelProto
    scheme: Scheme
    attempts: tuple[Attempt, ...]


def search(
    model: onnx.ModelProto,
    ranges: Ranges,
    correction: BiasCorrection,
    compared: ComparisonSet,
    gate: Gate,
    *,
    target: Target = "x86",
    log: Log = lambda line: None,
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
        log: Called with a line for each trial.
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
        log(f"int8, {number} of {at_most}{most}: {scheme.label}: {made.trial.summary}{left}")
        return made

    log(f"int8: looking for a model with {gate.summary}")
    for integer_adds in (True, False):
        if all(made.trial.broken for made in attempts):
            for number, calibrator in enumerate(CALIBRATORS, 1):
                scheme = Scheme(target=target, calibrator=calibrator, integer_adds=integer_adds)
                attempt(scheme, number, len(CALIBRATORS))
    best = max(attempts, key=lambda made: made.score)
    if best.trial.broken:
        order = _rank_layers(model, ranges, best.scheme, compared.parts[0])
        most = min(_MOST_EXCLUDED, len(order))
        log(f"int8: none passes; up to {most} layers of the nearest go back to float, which change the answers most")
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


def _rank_layers(model: onnx.ModelProto, ranges: Ranges, scheme: Scheme, images: ImageSet) -> tuple[str, ...]:
    """Returns the convolutions, those that change the answers for a few of the images most first."""
    count = min(_NOISE_IMAGES, len(images))
    few = images.pixels(np.arange(count) * len(images) // count)
    total = sum(node.op_type == "Conv" for node in model.graph.node)
    with tqdm(total=total, desc="which layers matter", unit="layer", leave=False, disable=None) as bar:
        return rank_by_sensitivity(model, ranges, scheme, few, progress=bar.update)
