"""Search for an INT8 model that agrees with its FP32 original: calibrators, residual adds, layers kept in float."""

import time
from dataclasses import dataclass, replace

import numpy as np
import onnx
from tqdm import tqdm

from ctonnx.artifacts.report_schema import Target
from ctonnx.parity.acceptance_gates import Gate
from ctonnx.system.text import Log, duration
from ctonnx_export.image_sets import ImageSet
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import CALIBRATORS, Ranges
from ctonnx_export.quantization.qdq import Scheme, quantize
from ctonnx_export.quantization.sensitivity import rank_by_sensitivity
from ctonnx_export.trial import ComparisonSet, Trial, try_model

__all__ = ["Search", "search"]

_RANKING_IMAGES = 16  # each convolution runs once on all of them
_MOST_EXCLUDED = 16  # of 53 convolutions: a model with more of them in float is hardly an INT8 model


@dataclass(frozen=True, kw_only=True)
class Search:
    """Best candidate, whether it passes the gate or not, its scheme, and the trials of all candidates in order."""

    model: onnx.ModelProto
    scheme: Scheme
    trials: tuple[Trial, ...]


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
    """Searches for the INT8 model with the best agreement.

    All calibrators are tried with residual adds in integers and, if no candidate passes the gate, with residual adds in
    float, which are slower. Of the candidates that pass, the best agreement wins, then the smallest mean |dp|. If none
    passes, the convolutions of the candidate nearest to the gate return to float one by one, the most sensitive first,
    until it passes. The model is in FP32, with shapes inferred.
    """
    trials: dict[Scheme, Trial] = {}

    def candidate(scheme: Scheme) -> onnx.ModelProto:
        quantized = quantize(model, ranges, scheme)
        correction.apply(quantized)
        return quantized

    def nearest() -> Scheme:
        return max(trials, key=lambda scheme: trials[scheme].score)

    start = time.perf_counter()

    def attempt(scheme: Scheme, number: int, most: int, at_most: str = "") -> bool:
        trial = trials[scheme] = try_model(candidate(scheme), compared, gate, scheme.as_dict())
        seconds = (time.perf_counter() - start) / len(trials) * (most - number)
        left = _time_left(seconds, list(trials.values()), at_most)
        log(f"int8, {number} of {at_most}{most}: {scheme.label}: {trial.summary}{left}")
        return not trial.broken

    log(f"int8: searching for a model with {gate.summary}")
    for integer_adds in (True, False):
        if all(trial.broken for trial in trials.values()):
            for number, calibrator in enumerate(CALIBRATORS, 1):
                scheme = Scheme(target=target, calibrator=calibrator, integer_adds=integer_adds)
                attempt(scheme, number, len(CALIBRATORS))
    best = nearest()
    if trials[best].broken:
        order = _rank_layers(model, ranges, best, compared.parts[0])
        most = min(_MOST_EXCLUDED, len(order))
        log(f"int8: no candidate passes; up to {most} layers of the nearest return to float, the most sensitive first")
        for count in range(1, most + 1):
            if attempt(replace(best, excluded=order[:count]), count, most, "at most "):
                break
        best = nearest()
    return Search(model=candidate(best), scheme=best, trials=tuple(trials.values()))


def _time_left(seconds: float, trials: list[Trial], at_most: str) -> str:
    """Returns the estimated time of the planned trials and whether more may follow; empty after the last one."""
    if not seconds or (at_most and not trials[-1].broken):
        return ""
    more = "" if at_most or not all(trial.broken for trial in trials) else ", more if none passes"
    return f"; {at_most or 'about '}{duration(seconds)} left{more}"


def _rank_layers(model: onnx.ModelProto, ranges: Ranges, scheme: Scheme, images: ImageSet) -> tuple[str, ...]:
    """Returns the names of the convolutions, ranked on a few of the images, the most sensitive first."""
    count = min(_RANKING_IMAGES, len(images))
    few = images.pixels(np.arange(count) * len(images) // count)
    total = sum(node.op_type == "Conv" for node in model.graph.node)
    with tqdm(total=total, desc="ranking layers", unit="layer", leave=False, disable=None) as bar:
        return rank_by_sensitivity(model, ranges, scheme, few, progress=bar.update)
