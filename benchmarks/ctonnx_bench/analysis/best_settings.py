"""Selects the best threads, workers, batch size and spinning of a sweep for this device (`--sweep threads`)."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ctonnx.inference.providers import PROVIDERS
from ctonnx.inference.tuning import Setting, Tuning, save_tuning

__all__ = ["Unreliable", "best", "save_best"]

_USUAL_BATCH = PROVIDERS["cpu"].batch_size  # of an untuned worker


class Unreliable(Exception):
    """The measurements that would select the settings are unreliable."""


def best(cases: Sequence[Mapping[str, Any]]) -> Tuning | None:
    """Returns the best settings of one model from its cases: the lowest median for one image, and the most images/s.

    Settings other than the defaults are selected only if they were better in every round. None is returned if no case
    of batch size 1 is right.

    Raises:
        Unreliable: If the best measurement, or the one that it was compared with, is unreliable.
    """
    right = [case for case in cases if not case["failures"]]
    single = [case for case in right if case["batch_size"] == 1]
    if not single:
        return None
    one = _winner(single, _default(single, 1), lambda case: float(case["figures"]["latency_ms"]["p50"]))
    many = _winner(right, _default(right, _USUAL_BATCH), lambda case: 1 / float(case["figures"]["images_per_s"]))
    return Tuning(one=_setting(one), many=_setting(many))


def save_best(document: Mapping[str, Any]) -> list[str]:
    """Writes each model's best settings beside it if they are reliable; returns a message for each model."""
    messages = []
    for model in document["models"]:
        path = Path(model["file"])
        try:
            tuning = best([case for case in document["cases"] if Path(case["model"]) == path.resolve()])
        except Unreliable as error:
            messages.append(
                f"not saved: the best settings of {path}: {error}; sweep again on a quiet machine, or for longer"
            )
            continue
        if tuning is None:
            messages.append(f"not saved: the best settings of {path}: no right result was measured for one image")
            continue
        file = save_tuning(path, tuning, provider=document["settings"]["provider"])
        messages += [
            f"best for {images}: {found.summary}, {found.images_per_s:.1f} images/s; {file}"
            for images, found in (("one image", tuning.one), ("many images", tuning.many))
        ]
    return messages


def _default(cases: Sequence[Mapping[str, Any]], batch_size: int) -> Mapping[str, Any]:
    """Returns the case nearest to the defaults of `ctonnx predict`: all cores, with a worker per core if swept."""
    most = max(case["threads"] for case in cases)
    workers = max(case["workers"] for case in cases if case["threads"] == most)
    return min(
        (case for case in cases if case["threads"] == most and case["workers"] == workers),
        key=lambda case: (not case["spinning"], abs(case["batch_size"] // case["workers"] - batch_size)),
    )


def _winner(
    cases: Sequence[Mapping[str, Any]], default: Mapping[str, Any], time_of: Callable[[Mapping[str, Any]], float]
) -> Mapping[str, Any]:
    """Returns the fastest case if it beat the default in every round, else the default.

    Raises:
        Unreliable: If the fastest case is unreliable, or its rival: the default, or the second fastest.
    """
    ordered = sorted(cases, key=time_of)
    first = ordered[0]
    rival = default if first is not default else next(iter(ordered[1:]), default)
    for case in (first, rival):
        if case["doubts"]:
            raise Unreliable(f"{case['title']}, batch {case['batch_size']}: {case['doubts'][0]}")

    if first is default:
        return first
    pairs = zip(_round_medians(first), _round_medians(default), strict=True)
    return first if all(mine < theirs for mine, theirs in pairs) else default


def _round_medians(case: Mapping[str, Any]) -> list[float]:
    return [statistics.median(item["samples_s"]) / case["batch_size"] for item in case["rounds"]]


def _setting(case: Mapping[str, Any]) -> Setting:
    return Setting(
        threads=case["threads"],
        workers=case["workers"],
        batch_size=case["batch_size"] // case["workers"],
        spinning=case["spinning"],
        images_per_s=round(case["figures"]["images_per_s"], 2),
    )
