"""Measurements of a case computed from its raw samples, and warnings about unreliable ones."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ctonnx.parity.rounding import shown
from ctonnx_bench.measurement.rounds import Round

__all__ = ["FEW", "NOISY", "find_warnings", "marks", "median_interval", "mlperf", "summarize"]

NOISY = 0.10
"""Interquartile range, as a share of the median, above which a case is noisy."""

FEW = 20
"""Number of timed runs below which their spread is unreliable."""

_MARKS = {"alone": "~", "few": "~", "crowded": "~", "noisy": "~", "uneven": "~", "busy": "~", "throttled": "!"}
_UNEVEN = 0.10  # width of the interval of the rounds' medians, as a share
_CONFIDENCE = 0.95  # of that interval
_BUSY = 0.05  # share of the cores' time that other programs used
_PERCENTILES = {50: 1, 90: 10, 95: 20, 99: 100}
"""Percentiles with the number of runs that each needs: with fewer, no run would be above it."""


def summarize(rounds: Sequence[Round], batch_size: int) -> dict[str, Any]:
    """Returns the measurements over all rounds.

    Returns:
        `latency_ms` of a run (of a whole batch): `p50`, `p90`, `p95`, `p99` (linear between the nearest samples; None
        for fewer than 10, 20 and 100 runs), `mean`, `iqr`, `min`, `max`; `runs`; `images_per_s` over the timed runs;
        medians over the processes: `cold_start_s`, `open_s` and `first_run_ms`; maxima: `peak_bytes` and
        `device_bytes`; `joules_per_image` by sensor.
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
        "peak_bytes": _maximum(item.peak_bytes for item in rounds),
        "device_bytes": _maximum(item.device_bytes for item in rounds),
        "joules_per_image": {
            name: sum(item.joules.get(name, 0.0) for item in rounds) / images for name in rounds[0].joules
        },
    }


def find_warnings(rounds: Sequence[Round], measurements: Mapping[str, Any], *, threads: int, cores: int) -> list[str]:
    """Returns reasons why a case's measurements may be unreliable: few runs, noise, uneven rounds, a slowed machine."""
    latency = measurements["latency_ms"]
    found = []
    if measurements["runs"] < FEW:
        found.append(f"few: {measurements['runs']} runs, too few for a reliable spread; use a longer --duration")
    if len(rounds) == 1:
        found.append("alone: only one round; use more --rounds")
    if threads > cores:
        found.append(f"crowded: {threads} threads on {cores} available cores")
    if (spread := latency["iqr"] / latency["p50"]) > NOISY:
        found.append(f"noisy: the interquartile range is {shown(spread, NOISY, digits=1, form='%')} of the median")
    low, high = median_interval([float(np.median(item.samples_s)) for item in rounds])
    if (width := high / low - 1) > _UNEVEN:
        differs = shown(width, _UNEVEN, digits=0, form="%")
        found.append(f"uneven: the rounds' medians differ by {differs}; use more --rounds")
    if (others := max(item.others_share for item in rounds)) > _BUSY:
        found.append(f"busy: other programs used up to {shown(others, _BUSY, digits=0, form='%')} of the cores' time")
    slowed = dict.fromkeys(cause for item in rounds for cause in item.slowdowns)
    return found + [f"throttled: {cause}" for cause in slowed]


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the 95 % confidence interval of the median of the distribution that the values are drawn from.

    Each value is above that median with a probability of one half, so the interval depends only on the ranks of the
    values, for any distribution. For fewer than 6 values, minimum and maximum are returned, with a lower confidence.
    Source: Hoefler and Belli 2015, https://doi.org/10.1145/2807591.2807644, 3.1.3.
    """
    ranked = sorted(values)
    count, left_out, rank = len(ranked), 0.0, -1
    while (left_out := left_out + 2 * math.comb(count, rank + 1) / 2**count) <= 1 - _CONFIDENCE:
        rank += 1
    rank = max(rank, 0)
    return ranked[rank], ranked[-1 - rank]


def marks(case: Mapping[str, Any]) -> str:
    """Returns the marks of a case's title: ` ~` for unreliable measurements, ` !` for a slowed machine."""
    found = dict.fromkeys(_MARKS[warning.partition(":")[0]] for warning in case["doubts"])
    return f" {''.join(found)}" if found else ""


def mlperf(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns MLPerf Inference's two scenarios for each contender with a case whose verdict is `right`, by its title.

    SingleStream is the 90th percentile of the latency at batch 1; Offline is the number of images per second if all are
    available from the start, at the batch size with the highest throughput (Reddi et al. 2020,
    https://arxiv.org/abs/1911.02549). These are its measures, not a submission, which needs 10 minutes and more.

    Returns:
        Results with `single_stream_ms` (None without enough runs at batch 1), `offline_images_per_s`,
        `offline_batch_size`, and True for unreliable measurements in `doubted` and `offline_doubted`.
    """
    found: dict[str, dict[str, Any]] = {}
    for case in cases:
        if case["verdict"] != "right":
            continue
        scenarios = found.setdefault(case["title"], {"single_stream_ms": None, "offline_images_per_s": None})
        measured = case["figures"]
        if case["batch_size"] == 1:
            scenarios |= {"single_stream_ms": measured["latency_ms"]["p90"], "doubted": bool(case["doubts"])}
        if measured["images_per_s"] > (scenarios["offline_images_per_s"] or 0.0):
            scenarios |= {
                "offline_images_per_s": measured["images_per_s"],
                "offline_batch_size": case["batch_size"],
                "offline_doubted": bool(case["doubts"]),
            }
    return found


def _maximum(values: Iterator[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
