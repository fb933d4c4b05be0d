"""From raw samples to the figures of a case, and the doubts that they leave."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ctonnx.parity.rounding import shown
from ctonnx_bench.measurement.rounds import Round

__all__ = ["FEW", "NOISY", "doubts", "marks", "median_interval", "mlperf", "summarize"]

NOISY = 0.10
"""The interquartile range, as a share of the median, above which a case is called noisy."""

FEW = 20
"""Timed runs, below which a spread says little."""

_MARKS = {"alone": "~", "few": "~", "crowded": "~", "noisy": "~", "uneven": "~", "busy": "~", "throttled": "!"}
_APART = 0.10  # the ends of the interval that holds the median of the rounds' medians
_CONFIDENCE = 0.95  # of that interval
_BUSY = 0.05  # of the processor's time, that other programs took
_PERCENTILES = {50: 1, 90: 10, 95: 20, 99: 100}
"""Each with the runs that it needs: of fewer, none is above it, and it would be the slowest by another name."""


def summarize(rounds: Sequence[Round], batch_size: int) -> dict[str, Any]:
    """Returns the figures of all rounds together.

    Returns:
        `latency_ms` of a run (of a whole batch): `p50`, `p90`, `p95`, `p99` (linear between the nearest samples; None
        of fewer than 10, 20 and 100 runs), `mean`, `iqr`, `min`, `max`; `runs`; `images_per_s` over the time of the
        runs alone; `cold_start_s`, `open_s` and `first_run_ms`, medians of the processes; `peak_bytes` and
        `device_bytes`, the greatest of them;
        `joules_per_image` by sensor.
    """
    samples = np.concatenate([item.samples_s for item in rounds])
    quarters = np.percentile(samples, (25, 75)) * 1e3
    images = len(samples) * batch_size
    return {
        "runs": len(samples),
        "latency_ms": {
            **{
                f"p{name}": float(np.percentile(samples, name) * 1e3) if len(samples) >= least else None
                for name, least in _PERCENTILES.items()
            },
            "mean": float(samples.mean() * 1e3),
            "iqr": float(quarters[1] - quarters[0]),
            "min": float(samples.min() * 1e3),
            "max": float(samples.max() * 1e3),
        },
        "images_per_s": float(images / samples.sum()),
        "cold_start_s": float(np.median([item.cold_start_s for item in rounds])),
        "open_s": float(np.median([item.open_s for item in rounds])),
        "first_run_ms": float(np.median([item.first_run_s for item in rounds]) * 1e3),
        "peak_bytes": _greatest(item.peak_bytes for item in rounds),
        "device_bytes": _greatest(item.device_bytes for item in rounds),
        "joules_per_image": {
            name: sum(item.joules.get(name, 0.0) for item in rounds) / images for name in rounds[0].joules
        },
    }


def doubts(rounds: Sequence[Round], figures: Mapping[str, Any], *, threads: int, cores: int) -> list[str]:
    """Returns why a case's figures may be doubted: few runs, noise, rounds that do not agree, a slowed machine.

    Args:
        rounds: of the case.
        figures: from `summarize`.
        threads: that computed.
        cores: that they were allowed.
    """
    latency = figures["latency_ms"]
    found = []
    if figures["runs"] < FEW:
        found.append(f"few: {figures['runs']} runs, of which a spread says little; take a longer --duration")
    if len(rounds) == 1:
        found.append("alone: one round, which no other confirms; take more --rounds")
    if threads > cores:
        found.append(f"crowded: {threads} threads on the {cores} cores that it may use")
    if (spread := latency["iqr"] / latency["p50"]) > NOISY:
        found.append(f"noisy: the interquartile range is {shown(spread, NOISY, digits=1, form='%')} of the median")
    least, greatest = median_interval([float(np.median(item.samples_s)) for item in rounds])
    if (apart := greatest / least - 1) > _APART:
        differs = shown(apart, _APART, digits=0, form="%")
        found.append(f"uneven: from round to round the median differs by {differs}; take more --rounds")
    if (others := max(item.others_share for item in rounds)) > _BUSY:
        taken = shown(others, _BUSY, digits=0, form="%")
        found.append(f"busy: other programs took up to {taken} of the cores' time meanwhile")
    slowed = dict.fromkeys(cause for item in rounds for cause in item.slowdowns)
    return found + [f"throttled: {cause}" for cause in slowed]


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns between which of the values the median of what they are drawn from lies, with 95 % confidence.

    Each of the values is above it with a probability of one half, so that their order alone tells, whatever their
    distribution. Of fewer than 6 values even the least and the greatest hold it less often; those are returned.
    Source: Hoefler and Belli 2015, https://doi.org/10.1145/2807591.2807644, 3.1.3.

    Args:
        values: One or more.
    """
    ranked = sorted(values)
    count, left_out, rank = len(ranked), 0.0, -1
    while (left_out := left_out + 2 * math.comb(count, rank + 1) / 2**count) <= 1 - _CONFIDENCE:
        rank += 1
    rank = max(rank, 0)
    return ranked[rank], ranked[-1 - rank]


def marks(case: Mapping[str, Any]) -> str:
    """Returns what stands beside a case's title: ` ~` where its figures are doubted, ` !` where it was slowed down."""
    found = dict.fromkeys(_MARKS[doubt.partition(":")[0]] for doubt in case["doubts"])
    return f" {''.join(found)}" if found else ""


def mlperf(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns MLPerf Inference's two scenarios for each contender, by its title.

    SingleStream is the 90th percentile of the latency of one image after the other; Offline is the images a second
    where all are there from the start, at the batch size that serves most (Reddi et al. 2020,
    https://arxiv.org/abs/1911.02549). These are its measures, not a submission: it asks for 10 minutes and more.

    Args:
        cases: of the report's document; one whose answers nothing proves right has no result.

    Returns:
        `single_stream_ms` (None where batch 1 was not measured, or too few times) and whether it is `doubted`;
        `offline_images_per_s`, `offline_batch_size`, and whether they are `offline_doubted`.
    """
    found: dict[str, dict[str, Any]] = {}
    for case in cases:
        if case["verdict"] != "right":
            continue
        scenarios = found.setdefault(case["title"], {"single_stream_ms": None, "offline_images_per_s": None})
        figures = case["figures"]
        if case["batch_size"] == 1:
            scenarios |= {"single_stream_ms": figures["latency_ms"]["p90"], "doubted": bool(case["doubts"])}
        if figures["images_per_s"] > (scenarios["offline_images_per_s"] or 0.0):
            scenarios |= {
                "offline_images_per_s": figures["images_per_s"],
                "offline_batch_size": case["batch_size"],
                "offline_doubted": bool(case["doubts"]),
            }
    return found


def _greatest(values: Iterator[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
