"""Search for an INT8 model that agrees with its FP32 original: calibrators, residual adds, layers kept in float."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.artifacts.report_schema import Target
from ctonnx.parity.acceptance_gates import Gate
from ctonnx.system.text import Log, duration
from ctonnx_export.image_sets import ImageSet
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import CALIBRATORS, Ranges
from ctonnx_export.quantization.qdq import Scheme, quantize
from ctonnx_export.quantization.search.judging import DividedChoice, Judging, divide, judged_by
from ctonnx_export.quantization.search.sensitivity import rank_by_sensitivity
from ctonnx_export.trial import ComparisonSet, Measured, Trial, judge, measure

__all__ = ["Candidates", "Choice", "Search", "choose", "choose_and_divide", "search"]

_RANKING_IMAGES = 16  # each convolution runs once on all of them
_MOST_EXCLUDED = 16  # of 53 convolutions: a model with more of them in float is hardly an INT8 model


class Candidates(Protocol):
    """Candidates by their scheme, measured when they are first asked for."""

    def measured(self, scheme: Scheme) -> Measured:
        """Returns the outputs of a candidate for all compared images."""

    def ranked(self, scheme: Scheme) -> tuple[str, ...]:
        """Returns the names of the convolutions, the most sensitive first, by images that are not compared."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Best candidate on some images, whether it passes the gate there or not, and the trials of all it was best of."""

    scheme: Scheme
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Chosen candidate, and the images that judge it.

    Attributes:
        model: Its model.
        scheme: Its scheme.
        trials: Trials of all candidates, in order, on the images that chose it.
        judging: Images that judge it.
        measured: Its outputs for all compared images.
        start: Scheme without layers or adds in float that is nearest to the original on the calibration images:
            no compared image chose it.
    """

    model: onnx.ModelProto
    scheme: Scheme
    trials: tuple[Trial, ...]
    judging: Judging
    measured: Measured
    start: Scheme


Report = Callable[[Scheme, Trial, int, int, str], None]
"""Called after each trial with its scheme, its number, the number of planned ones, and "at most " if it may be less."""


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
    """Searches for the INT8 model with the best agreement, on images that do not judge it.

    The model is in FP32, with shapes inferred. Sensitive layers are ranked on a few of the calibration images.
    """
    candidates = _Candidates(model, ranges, correction, compared)
    log(f"int8: searching for a model with {gate.summary}")
    choice, judging = choose_and_divide(candidates, compared, gate, target=target, log=log)
    return Search(
        model=candidates.model(choice.scheme),
        scheme=choice.scheme,
        trials=choice.trials,
        judging=judging,
        measured=candidates.measured(choice.scheme),
        start=candidates.nearest_by_calibration(),
    )


def choose_and_divide(
    candidates: Candidates, compared: ComparisonSet, gate: Gate, *, target: Target = "x86", log: Log = lambda line: None
) -> tuple[Choice, Judging]:
    """Chooses a candidate, and returns it with the images that judge it, which took no part in the choice.

    With many images one half chooses and the other judges. With few, all choose the candidate, and each fold's outputs
    are those of the candidate that the other folds choose: the folds judge the choice as a procedure, not only its one
    result (Stone 1974).
    """
    divisions = divide(compared)
    halves = len(divisions) == 1
    choosing = divisions[0].choosing if halves else np.arange(len(compared))
    known: set[Scheme] = set()
    lines = _Lines(log)

    def tried(scheme: Scheme, *of: Any) -> None:
        known.add(scheme)
        lines(scheme, *of)

    def tried_for_a_fold(scheme: Scheme, *of: Any) -> None:
        if scheme not in known:
            known.add(scheme)
            log(f"int8, for a fold: {scheme.label}")

    choice = choose(candidates, compared, gate, choosing, target=target, report=tried, log=log)
    chosen = [choice.scheme]
    if not halves:
        chosen = [
            choose(candidates, compared, gate, division.choosing, target=target, report=tried_for_a_fold).scheme
            for division in divisions
        ]
    choices = [
        DividedChoice(
            choosing=of.choosing, judging=of.judging, label=scheme.label, measured=candidates.measured(scheme)
        )
        for of, scheme in zip(divisions, chosen, strict=True)
    ]
    return choice, judged_by(choices, len(compared))


def choose(
    candidates: Candidates,
    compared: ComparisonSet,
    gate: Gate,
    rows: NDArray[np.intp],
    *,
    target: Target = "x86",
    report: Report = lambda *arguments: None,
    log: Log = lambda line: None,
) -> Choice:
    """Chooses the candidate with the best agreement on some rows; the outputs for other rows have no influence.

    All calibrators are tried with residual adds in integers and, if no candidate passes the gate, with residual adds in
    float, which are slower. Of the candidates that pass, the best agreement wins, then the smallest mean |dp|. If none
    passes, the convolutions of the candidate nearest to the gate return to float one by one, the most sensitive first,
    until it passes.
    """
    trials: dict[Scheme, Trial] = {}

    def nearest() -> Scheme:
        return max(trials, key=lambda scheme: trials[scheme].score)

    def attempt(scheme: Scheme, number: int, most: int, at_most: str = "") -> bool:
        trial = trials[scheme] = judge(candidates.measured(scheme), compared, gate, rows)
        report(scheme, trial, number, most, at_most)
        return not trial.broken

    for integer_adds in (True, False):
        if all(trial.broken for trial in trials.values()):
            for number, calibrator in enumerate(CALIBRATORS, 1):
                scheme = Scheme(target=target, calibrator=calibrator, integer_adds=integer_adds)
                attempt(scheme, number, len(CALIBRATORS))
    best = nearest()
    if trials[best].broken:
        order = candidates.ranked(best)
        most = min(_MOST_EXCLUDED, len(order))
        log(f"int8: no candidate passes; up to {most} layers of the nearest return to float, the most sensitive first")
        for count in range(1, most + 1):
            if attempt(replace(best, excluded=order[:count]), count, most, "at most "):
                break
        best = nearest()
    return Choice(scheme=best, trials=tuple(trials.values()))


@dataclass
class _Candidates:
    """Candidates that are quantized, corrected and run once; their outputs are kept, their models are not."""

    plain: onnx.ModelProto
    ranges: Ranges
    correction: BiasCorrection
    compared: ComparisonSet
    _measured: dict[Scheme, Measured] = field(default_factory=dict)
    _ranked: dict[Scheme, tuple[str, ...]] = field(default_factory=dict)
    _errors: dict[Scheme, float] = field(default_factory=dict)

    def model(self, scheme: Scheme) -> onnx.ModelProto:
        """Returns the quantized model, with its bias corrected."""
        quantized = quantize(self.plain, self.ranges, scheme)
        self._errors[scheme] = self.correction.apply(quantized)
        return quantized

    def nearest_by_calibration(self) -> Scheme:
        """Returns the measured scheme, all in integers, with the least error of the logits on calibration images.

        Every choice measures all schemes of this kind, so that no compared image has a part in this one.
        """
        every = [scheme for scheme in self._errors if scheme.integer_adds and not scheme.excluded]
        return min(every, key=lambda scheme: self._errors[scheme])

    def measured(self, scheme: Scheme) -> Measured:
        if scheme not in self._measured:
            self._measured[scheme] = measure(self.model(scheme), self.compared, scheme.as_dict())
        return self._measured[scheme]

    def ranked(self, scheme: Scheme) -> tuple[str, ...]:
        if scheme not in self._ranked:
            self._ranked[scheme] = _rank_layers(self.plain, self.ranges, scheme, self.correction.images)
        return self._ranked[scheme]


class _Lines:
    """A line for each trial, with the estimated time of the planned ones."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._start = time.perf_counter()
        self._trials: list[Trial] = []

    def __call__(self, scheme: Scheme, trial: Trial, number: int, most: int, at_most: str) -> None:
        self._trials.append(trial)
        seconds = (time.perf_counter() - self._start) / len(self._trials) * (most - number)
        left = _time_left(seconds, self._trials, at_most)
        self._log(f"int8, {number} of {at_most}{most}: {scheme.label}: {trial.summary}{left}")


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
