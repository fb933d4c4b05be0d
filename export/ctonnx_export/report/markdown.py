"""Markdown of the export report: report.md."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.parity.comparison import MAX_DP, Parity
from ctonnx.parity.gates import Gate
from ctonnx.parity.rounding import shown
from ctonnx.system.text import table

__all__ = ["GOLDEN_PIXELS", "as_markdown", "parity_table", "pending_lines"]

GOLDEN_PIXELS = "`golden.npz` contains pixels of validation images: treat it like the images themselves."


def as_markdown(facts: Mapping[str, Any]) -> str:
    """Returns the Markdown text of a report.

    Args:
        facts: Report from `ctonnx_export.report.facts.report`.
    """
    model, precisions = facts["model"], facts["precisions"]
    size = model["preprocessing"]["size"]
    lines = [f"# {model['name']}: export report", ""]
    if not facts["files"]:
        lines += ["**Nothing of this export was written: the earlier export in this folder was kept.**", ""]
    if model["synthetic"]:
        lines += ["**Trained on synthetic phantoms: its predictions have no clinical meaning.**", ""]
    lines += [
        "A research tool, not a medical device.",
        "",
        *(line for name, of in precisions.items() for line in _failure(name, of)),
        *pending_lines(facts),
        *([*(f"- Note: {note}." for note in facts["notes"]), ""] if facts["notes"] else []),
        "## Parity",
        "",
        "FP32 is compared with PyTorch on the validation images; the other precisions are compared with FP32 on these "
        "and on training images that calibration did not use.",
        "",
        *parity_table(precisions),
        "",
        *_candidates(precisions.get("int8")),
        "## Metrics of the checkpoint",
        "",
        *table(
            ["images", "number", "accuracy", "macro F1", "macro AUROC"],
            [
                [split, str(of["images"]), *map(_share, (of["accuracy"], of["macro"]["f1"], of["macro"]["auroc"]))]
                for split, of in model["metrics"].items()
            ],
        ),
        "",
        *_copies(model["data"].get("leaks")),
        *_operating_point(model["operating_point"]),
        "## Model",
        "",
        *table(
            ["property", "value"],
            [
                ["classes", ", ".join(model["classes"])],
                ["input", f"`pixels`, uint8 [batch, {size}, {size}, 3]"],
                ["colour, resize", f"{model['preprocessing']['color']}, {model['preprocessing']['resize']}"],
                ["temperature", f"{model['temperature']:.4g}"],
                ["trained", f"{model['created']} on `{model['data']['name']}`"],
                ["data fingerprint", f"`{model['data']['fingerprint']}`"],
                ["checkpoint SHA-256", f"`{model['checkpoint_sha256']}`"],
                ["onnxsim", precisions["fp32"]["onnxsim"]],
                ["versions", ", ".join(f"{name} {version}" for name, version in model["versions"].items())],
            ],
        ),
        "",
        *_files(facts["files"]),
    ]
    return "\n".join(lines) + "\n"


def _files(files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not files:
        return []
    return [
        "## Files",
        "",
        *table(
            ["file", "bytes", "SHA-256"],
            [[f"`{name}`", str(file["bytes"]), f"`{file['sha256']}`"] for name, file in files.items()],
        ),
        "",
        GOLDEN_PIXELS,
    ]


def pending_lines(facts: Mapping[str, Any]) -> list[str]:
    """Returns lines on the requested precisions that are not exported yet, if any."""
    if not (pending := facts["pending"]):
        return []
    names = " and ".join(name.upper() for name in pending)
    verb = "is" if len(pending) == 1 else "are"
    return [
        f"**{names} {verb} missing**: requested, but not exported yet when this was written. If the export was "
        f"interrupted, complete it with `ctonnx export {facts['model']['name']} --precision "
        f"{','.join([*facts['precisions'], *pending])}`.",
        "",
    ]


def parity_table(precisions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the lines of the table that compares each precision with its reference."""
    heads = ["", *(name.upper() for name in precisions)]
    rows = [[title, *(show(of) for of in precisions.values())] for title, show in _ROWS.items()]
    return [*table(heads, rows), "", f"{MAX_DP}. {_INTERVALS}"]


def _change(facts: Mapping[str, Any], name: str) -> str:
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


_ROWS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "images compared": lambda facts: str(facts["parity"]["images"]) + _splits(facts.get("compared")),
    "top-1 agreement": lambda facts: _agreement(facts),
    "max \\|dp\\|": lambda facts: shown(facts["parity"]["max_dp"], facts["gate"]["max_dp"], digits=3),
    "mean \\|dp\\|": lambda facts: f"{facts['parity']['mean_dp']:.3g}",
    "max \\|dlogit\\|": lambda facts: f"{facts['parity']['max_dlogit']:.3g}",
    "max heatmap difference, relative": lambda facts: f"{facts['parity']['max_dheatmap']:.3g}",
    "heatmaps' median correlation": lambda facts: _correlation(facts["parity"], facts["gate"]),
    "heatmaps' lowest correlation": lambda facts: f"{facts['parity']['lowest_heatmap_correlation']:.4f}",
    "accuracy, all compared images": lambda facts: _change(facts, "accuracy"),
    "accuracy, validation images": lambda facts: _change(facts, "accuracy_on_validation"),
    "no longer suspicious, newly suspicious": lambda facts: _suspicion(facts.get("changed_suspicion")),
    "gate requires": lambda facts: Gate(**facts["gate"]).summary.replace("|", "\\|"),
    "gate": lambda facts: "passed" if facts["passed"] else "**failed**",
    "confirmed by the 95 % intervals": lambda facts: _by_intervals(facts),
}
"""Rows of the parity table: title, and text for a precision. Shares have a 95 % interval, and differences of accuracy
that of paired proportions."""

_INTERVALS = (
    "A gate checks the measured values; the last row shows whether their 95 % intervals are within its bounds, too, so "
    "that other images of this kind would give the same result."
)


def _splits(counts: Mapping[str, int] | None) -> str:
    return f" ({_counts(counts)})" if counts else ""


def _failure(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["failures"]:
        failures = "; ".join(facts["failures"])
        yield f"**{name.upper()} failed its gate and was not written**: {failures}. {facts['advice']}"
        yield ""


def _candidates(facts: Mapping[str, Any] | None) -> list[str]:
    """Returns the section on the INT8 candidates that the search tried."""
    if facts is None:
        return []
    calibration, scheme = facts["calibration"], facts["quantization"]
    rows = [
        [
            attempt["calibrator"],
            attempt["residual_adds"],
            str(len(attempt["layers_in_float"])),
            shown(attempt["parity"]["agreement"], facts["gate"]["min_agreement"], digits=2, form="%"),
            f"{attempt['parity']['mean_dp']:.4f}",
            _correlation(attempt["parity"], facts["gate"]),
            _change({**attempt, "gate": facts["gate"]}, "accuracy"),
            f"{attempt['milliseconds']:.1f}",
            f"{attempt['bytes'] / 1e6:.1f}",
            "; ".join(attempt["failures"]).replace("|", "\\|") or "passed",
        ]
        for attempt in facts["attempts"]
    ]
    heads = [
        "calibrator",
        "adds",
        "float layers",
        "agreement",
        "mean \\|dp\\|",
        "heatmaps",
        "accuracy",
        "ms",
        "MB",
        "gate",
    ]
    return [
        "## INT8: candidates",
        "",
        f"For {scheme['target']}, calibrated on {calibration['images']} images ({calibration['of']}; "
        f"{calibration['asked_for']} were requested), {_corrected(scheme['bias_correction']['images'])}. "
        f"{'Selected' if facts['passed'] else 'Nearest to the gate, but failed, too'}: {scheme['calibrator']}, "
        f"{scheme['residual_adds']} adds, {len(scheme['layers_in_float'])} layers in float. It was selected on the "
        "images on which it was compared: expect somewhat lower agreement on others. Milliseconds are the time for one "
        "image on the exporting machine, from a few consecutive runs: not reliable if other programs were running.",
        "",
        *table(heads, rows),
        "",
    ]


def _corrected(images: int) -> str:
    return f"bias corrected on {images} of them" if images else "too few to correct the bias"


def _copies(leaks: Mapping[str, Any] | None) -> list[str]:
    """Returns the table of images that the dataset contains more than once."""
    if leaks is None:
        return []
    rows = [
        ["groups of files with identical pixels", f"{leaks['groups']} ({leaks['files']} files)"],
        ["of these, across splits", f"{leaks['groups_across_splits']} ({leaks['files_across_splits']} files)"],
        ["of these, with different labels", f"{leaks['groups_with_several_labels']}"],
        ["files that leaked from an earlier split", _counts(leaks["leaked"])],
        ["files excluded by `--drop-leaks`", _counts(leaks["dropped"])],
    ]
    return [*table(["copies in the dataset", ""], rows), ""]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count}" for split, count in counts.items()) or "none"


def _operating_point(values: Mapping[str, Any] | None) -> list[str]:
    if values is None:
        return []
    point = OperatingPoint.from_dict(values)
    return [
        "## Operating point",
        "",
        f"An image is suspicious if the probabilities of {', '.join(point.positive)} sum to {point.threshold:.6f} "
        f"or more. On the validation images, on which it was fitted: {point.figures}"
        f"{' (95 % intervals)' if point.sensitivity_interval else ''}.{_fit(point)}",
        "",
    ]


def _fit(point: OperatingPoint) -> str:
    """Returns the numbers of images that fitted the operating point and the gap around it; empty if unknown."""
    if point.gap is None:
        return ""
    left_out = point.leaked_images and not point.leaked_images_used
    leaked = f", without {point.leaked_images} that leaked from the training set" if left_out else ""
    return (
        f" It was fitted on {point.positive_images} suspicious images and {point.negative_images} others{leaked}; no "
        f"score is between {point.gap[0]:.6f} and {point.gap[1]:.6f}."
    )


def _agreement(facts: Mapping[str, Any]) -> str:
    parity, least = facts["parity"], facts["gate"]["min_agreement"]
    low, high = Parity(**parity).agreement_interval
    value, *ends = (shown(share, least, digits=2, form="%") for share in (parity["agreement"], low, high))
    return f"{value} [{', '.join(ends)}]"


def _correlation(parity: Mapping[str, Any], gate: Mapping[str, Any]) -> str:
    return shown(parity["heatmap_correlation"], gate["min_heatmap_correlation"], digits=4, form="f")


def _by_intervals(facts: Mapping[str, Any]) -> str:
    """Returns whether the intervals confirm that the gate is passed."""
    if not facts["passed"] or (facts["gate"]["min_agreement"] <= 0 and facts["gate"]["max_drop"] is None):
        return "-"
    return f"no: {'; '.join(facts['unshown'])}" if facts["unshown"] else "yes"


def _suspicion(changed: Mapping[str, int] | None) -> str:
    return "-" if changed is None else f"{changed['lost']}, {changed['gained']}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
