"""The model before and after, side by side, on scans that chose neither."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx_train.evaluation.statistics.metrics import LEVEL, evaluate
from ctonnx_train.evaluation.statistics.shares import Share, share_of
from ctonnx_train.recalibration.fitting import Judged
from ctonnx_train.recalibration.scans import SiteScans

__all__ = ["MEASURES", "PATIENT_MEASURES", "measure"]

MEASURES = {
    "nll": "negative log-likelihood",
    "ece": "ECE",
    "auroc": "AUROC of the score",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "referred": "share referred",
    "coverage": "coverage of the sets",
    "novel": "share flagged as novel",
}
"""Measures, with their names for a table."""

PATIENT_MEASURES = {
    "patient_sensitivity": "sensitivity of patients",
    "patient_specificity": "specificity of patients",
}
"""Further measures where the patients are known."""


def measure(
    judged: Judged, scans: SiteScans, positive: Sequence[str], *, replicates: int, seed: int
) -> dict[str, Share]:
    """Returns the measures of judged scans: value, 95 % interval and number of scans, each None if undefined.

    Where the patients are known, two measures count patients, as does their number of scans. A patient
    with a suspicious scan in the study that is decided on is a suspicious one; one with no scan to decide on is not
    counted.

    The intervals of shares are Wilson's, of the effective number of scans if they are grouped; those of the others are
    percentiles of the bootstrap over the scans' groups.
    """
    columns = [scans.classes.index(name) for name in positive]
    is_positive = np.isin(scans.labels, columns)
    score = judged.probabilities[:, columns].sum(axis=1)
    settings: dict[str, Any] = {"groups": scans.groups.tolist(), "replicates": replicates, "seed": seed}
    whole = evaluate(judged.probabilities, scans.labels.tolist(), scans.classes, **settings)
    kinds = evaluate(np.stack([1 - score, score], axis=1), is_positive.astype(int).tolist(), ("-", "+"), **settings)
    tiny = np.finfo(np.float64).tiny
    losses = -np.log(np.maximum(judged.probabilities[np.arange(len(scans)), scans.labels], tiny))
    nothing = share_of(np.empty(0, bool))

    def share(flags: NDArray[np.bool_] | None, chosen: NDArray[np.bool_] | slice = slice(None)) -> Share:
        return nothing if flags is None else share_of(flags[chosen], scans.groups[chosen] if scans.is_grouped else None)

    called, decisions = judged.called, judged.decisions
    of_patients: dict[str, Share] = {}
    if scans.is_grouped:
        first, of_scan = np.unique(scans.groups, return_index=True, return_inverse=True)[1:]
        is_decided, has_finding = np.ones(len(first), bool), np.bincount(of_scan, is_positive) > 0
        if scans.chosen is not None:
            is_decided = np.bincount(of_scan, scans.chosen.used) > 0
            has_finding = np.bincount(of_scan, is_positive & scans.chosen.of_study) > 0
        found = None if judged.patient_called is None else judged.patient_called[first]
        of_patients = {
            "patient_sensitivity": nothing if found is None else share_of(found[is_decided & has_finding]),
            "patient_specificity": nothing if found is None else share_of(~found[is_decided & ~has_finding]),
        }
    return {
        "nll": {
            "value": round(float(losses.mean()), 6),
            "interval": _mean_interval(losses, scans.groups, replicates, seed),
            "images": len(scans),
        },
        "ece": _with_interval(whole["ece"], whole.get("intervals", {}).get("ece"), len(scans)),
        "auroc": _with_interval(
            kinds["per_class"]["+"]["auroc"],
            kinds.get("intervals", {}).get("per_class", {}).get("+", {}).get("auroc"),
            len(scans),
        ),
        "sensitivity": share(called, is_positive),
        "specificity": share(None if called is None else ~called, ~is_positive),
        "referred": share(None if decisions is None else decisions == "refer"),
        "coverage": share(judged.covered),
        "novel": share(judged.flagged),
        **of_patients,
    }


def _with_interval(value: float | None, interval: Sequence[float] | None, images: int) -> Share:
    return {"value": value, "interval": None if interval is None else list(interval), "images": images}


def _mean_interval(
    values: NDArray[np.float64], groups: NDArray[np.int64], replicates: int, seed: int
) -> list[float] | None:
    """Returns the interval of a mean over resamples of whole groups."""
    numbers = np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(numbers, values), np.bincount(numbers)
    if not replicates or len(sizes) < 2:
        return None
    drawn = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=replicates)
    means = (drawn @ sums) / (drawn @ sizes)
    return [round(float(end), 6) for end in np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]
