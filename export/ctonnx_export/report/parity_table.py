"""Parity table of the report and the model card: each precision compared with its reference."""

from collections.abc import Callable, Mapping
from typing import Any

from ctonnx.parity.acceptance_gates import Gate
from ctonnx.parity.comparison import MAX_DP
from ctonnx.parity.intervals import share_interval
from ctonnx.parity.rounding import Form, shown
from ctonnx.system.text import counted, table

__all__ = ["parity_table", "show_change", "show_correlation", "show_counts"]

_INTERVALS = (
    "A gate checks the measured values; the last row shows whether their 95 % intervals are within its bounds, too, so "
    "that other images of this kind would give the same result."
)


def parity_table(precisions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the lines of the table, with notes, from the report's entries by precision."""
    heads = ["", *(name.upper() for name in precisions)]
    rows = [[title, *(show(of) for of in precisions.values())] for title, show in _ROWS.items()]
    return [*table(heads, rows), "", f"{MAX_DP}. {_INTERVALS}"]


def show_change(facts: Mapping[str, Any], name: str) -> str:
    """Returns the accuracy of a model and its difference from FP32's, with interval; "-" without labels."""
    change = facts.get(name)
    if change is None:
        return "-"
    drop = (facts.get("gate") or {}).get("max_drop")
    bounds = () if drop is None else (-drop,)
    points = [
        shown(change[end], *bounds, digits=2, form="%", sign="+").removesuffix("%")
        for end in ("difference", "low", "high")
    ]
    candidate = shown(change["candidate"], digits=2, form="%")
    return f"{candidate}: {points[0]} points [{points[1]}, {points[2]}] of {change['images']}"


def show_correlation(parity: Mapping[str, Any], gate: Mapping[str, Any]) -> str:
    """Returns the median correlation of heatmaps, with enough digits to compare it with the gate's bound."""
    return shown(parity["heatmap_correlation"], gate["min_heatmap_correlation"], digits=4, form="f")


def show_counts(counts: Mapping[str, int]) -> str:
    """Returns the counts of each split."""
    return ", ".join(f"{split} {count}" for split, count in counts.items()) or "none"


def _images(facts: Mapping[str, Any]) -> str:
    return str(facts["parity"]["images"]) + (f" ({show_counts(counts)})" if (counts := facts.get("compared")) else "")


def _judged(facts: Mapping[str, Any]) -> str:
    """Returns a phrase for the images that judge the model; "-" for FP32, which is compared with PyTorch."""
    judged = facts.get("judged")
    if judged is None:
        return "-"
    chose = sum(judged["choosing"].values())
    if judged["method"] == "folds":
        schemes = judged["folds"]
        folds = f"{sum(schemes.values())} folds, each by the candidate that the others chose"
        return (
            folds
            if len(schemes) == 1
            else f"{folds}: {'; '.join(f'{of} chose {name}' for name, of in schemes.items())}"
        )
    return {
        "all": "all: it was not chosen",
        "halves": f"a part; {counted(chose, 'other image')} chose",
        "none": "the single image, which also chose",
    }[judged["method"]]


def _on_test(facts: Mapping[str, Any]) -> str:
    found = facts.get("agreement_on_test")
    if not found:
        return "-"
    share = _share(found["agreement"], found["images"], facts["gate"]["min_agreement"])
    return f"{share} of {found['images']}; mean \\|dp\\| {found['mean_dp']:.3g}"


def _agreement(facts: Mapping[str, Any]) -> str:
    parity, least = facts["parity"], facts["gate"]["min_agreement"]
    return _share(parity["agreement"], parity["images"], least)


def _flagged(facts: Mapping[str, Any]) -> str:
    parity, least = facts["parity"], facts["gate"].get("min_novelty_agreement")
    return "-" if (share := parity.get("novelty_agreement")) is None else _share(share, parity["images"], least)


def _decided(facts: Mapping[str, Any]) -> str:
    parity, least = facts["parity"], facts["gate"].get("min_decision_agreement")
    share, images = parity.get("decision_agreement"), parity.get("decision_images")
    return "-" if share is None or images is None else f"{_share(share, images, least)} of {images}"


def _share(share: float, images: int, least: float | None) -> str:
    """Returns a share with its interval, not rounded across its bound."""
    bounds = () if least is None else (least,)
    value, *ends = (shown(end, *bounds, digits=2, form="%") for end in (share, *share_interval(share, images)))
    return f"{value} [{', '.join(ends)}]"


def _bounded(facts: Mapping[str, Any], name: str, bound: str, *, digits: int, form: Form) -> str:
    """Returns a value, not rounded across its bound; "-" if it was not compared, as the model lacks this output."""
    value, limit = facts["parity"].get(name), facts["gate"].get(bound)
    return "-" if value is None else shown(value, *([] if limit is None else [limit]), digits=digits, form=form)


def _suspicion(facts: Mapping[str, Any]) -> str:
    return f"{changed['lost']}, {changed['gained']}" if (changed := facts.get("changed_suspicion")) else "-"


def _changed_decisions(facts: Mapping[str, Any]) -> str:
    """Returns the share of test images with another decision, and how many became the opposite one."""
    found = facts.get("decisions_on_test")
    if not found:
        return "-"
    share, *ends = (
        shown(value, digits=2, form="%") for value in (found["changed_share"], *found["changed_share_interval"])
    )
    return f"{share} [{', '.join(ends)}] of {found['images']}, {found['opposite']} the opposite"


def _confirmed(facts: Mapping[str, Any]) -> str:
    """Returns whether the intervals confirm that the gate is passed."""
    if not facts["passed"] or (facts["gate"]["min_agreement"] <= 0 and facts["gate"]["max_drop"] is None):
        return "-"
    return f"no: {'; '.join(facts['unshown'])}" if facts["unshown"] else "yes"


_ROWS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "images compared": _images,
    "images that judge": _judged,
    "top-1 agreement": _agreement,
    "max \\|dp\\|": lambda facts: shown(facts["parity"]["max_dp"], facts["gate"]["max_dp"], digits=3),
    "mean \\|dp\\|": lambda facts: f"{facts['parity']['mean_dp']:.3g}",
    "max \\|dlogit\\|": lambda facts: f"{facts['parity']['max_dlogit']:.3g}",
    "max heatmap difference, relative": lambda facts: f"{facts['parity']['max_dheatmap']:.3g}",
    "heatmaps' median correlation": lambda facts: show_correlation(facts["parity"], facts["gate"]),
    "heatmaps' lowest correlation": lambda facts: f"{facts['parity']['lowest_heatmap_correlation']:.4f}",
    "novelty's rank correlation": lambda facts: _bounded(
        facts, "novelty_correlation", "min_novelty_correlation", digits=4, form="f"
    ),
    "max novelty difference, relative": lambda facts: _bounded(
        facts, "max_dnovelty", "max_dnovelty", digits=3, form="g"
    ),
    "flagged alike as novel": _flagged,
    "decided alike, images that fitted no threshold": _decided,
    "top-1 agreement, test images": _on_test,
    "decided otherwise, test images": _changed_decisions,
    "accuracy, all compared images": lambda facts: show_change(facts, "accuracy"),
    "accuracy, validation images": lambda facts: show_change(facts, "accuracy_on_validation"),
    "no longer suspicious, newly suspicious": _suspicion,
    "gate requires": lambda facts: Gate(**facts["gate"]).summary.replace("|", "\\|"),
    "gate": lambda facts: "passed" if facts["passed"] else "**failed**",
    "confirmed by the 95 % intervals": _confirmed,
}
"""Rows of the table: title, and text for a precision. Shares have a 95 % interval, and differences of accuracy that of
paired proportions."""
