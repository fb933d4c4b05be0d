"""The export's report, as JSON for programs and Markdown for people."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ctonnx_export.making import Made

__all__ = ["as_markdown", "report", "table"]

_ADVICE = {
    "fp16": "Look at which layers came near fp16's range, train with weight decay, or ship FP32.",
    "int8": (
        "More calibration images (`--samples`) or such as the model will see (`--calibrate`) may help; FP16 and FP32 "
        "stay available; `--min-agreement` and `--max-drop` set the gate, if you know what a disagreement costs."
    ),
    "int8, few images": (
        "There were fewer images than asked for: others of this kind (`--calibrate`) may help, and where few are "
        "compared, one scan decides. FP16 and FP32 stay available; `--min-agreement` and `--max-drop` set the gate, if "
        "you know what a disagreement costs."
    ),
}


def report(models: Sequence[Made], files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the report: what the models share, each with its gate and how it did, and each file's size and SHA-256.

    Args:
        models: FP32 first; those that were refused too.
        files: `bytes` and `sha256` by file name.
    """
    return {
        "model": json.loads(models[0].spec.to_json()),
        "precisions": {made.precision: _precision(made) for made in models},
        "files": {name: dict(facts) for name, facts in files.items()},
    }


def as_markdown(facts: Mapping[str, Any]) -> str:
    """Returns the report's Markdown text."""
    model, precisions = facts["model"], facts["precisions"]
    size = model["preprocessing"]["size"]
    lines = [f"# {model['name']}: export report", ""]
    if model["synthetic"]:
        lines += ["**Trained on synthetic phantoms: its answers mean nothing for patients.**", ""]
    lines += [
        "A research tool, not a medical device.",
        "",
        "## Parity",
        "",
        "FP32 is compared with PyTorch on the validation images, the others with FP32 on these and on training images "
        "that calibration did not use.",
        "",
        *table(
            ["", *(name.upper() for name in precisions)],
            [[title, *(show(of) for of in precisions.values())] for title, show in _ROWS.items()],
        ),
        "",
        *(line for name, facts in precisions.items() for line in _refusal(name, facts)),
        *_attempts(precisions.get("int8")),
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
        *_flaws(model["data"].get("leaks")),
        *_operating_point(model["operating_point"]),
        "## Model",
        "",
        *table(
            ["what", "value"],
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
        "## Files",
        "",
        *table(
            ["file", "bytes", "SHA-256"],
            [[f"`{name}`", str(file["bytes"]), f"`{file['sha256']}`"] for name, file in facts["files"].items()],
        ),
        "",
        "`golden.npz` holds pixels of validation images: treat it as you treat the images themselves.",
    ]
    return "\n".join(lines) + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _precision(made: Made) -> dict[str, Any]:
    """Returns what the report tells of one model."""
    bounds = {"max_dp": made.gate.max_dp, "min_agreement": made.gate.min_agreement, "max_drop": made.gate.max_drop}
    trial = made.trial.as_dict() if made.trial else {"parity": dict(made.spec.parity)}
    return {
        **trial,
        **made.facts,
        "quantization": made.spec.quantization,
        "gate": {**bounds, "min_heatmap_correlation": made.gate.min_heatmap_correlation},
        "passed": not made.failures,
        "failures": list(made.failures),
    }


def _change(facts: Mapping[str, Any], name: str) -> str:
    change = facts.get(name)
    if change is None:
        return "-"
    points = [f"{change[end] * 100:+.2f}" for end in ("difference", "low", "high")]
    return f"{change['candidate']:.2%}: {points[0]} points [{points[1]}, {points[2]}] of {change['images']}"


_ROWS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "images compared": lambda facts: str(facts["parity"]["images"]),
    "same most probable class": lambda facts: f"{facts['parity']['agreement']:.2%}",
    "max \\|dp\\|": lambda facts: f"{facts['parity']['max_dp']:.3g}",
    "mean \\|dp\\|": lambda facts: f"{facts['parity']['mean_dp']:.3g}",
    "max \\|dlogit\\|": lambda facts: f"{facts['parity']['max_dlogit']:.3g}",
    "max heatmap difference, relative": lambda facts: f"{facts['parity']['max_dheatmap']:.3g}",
    "heatmaps' median correlation": lambda facts: f"{facts['parity']['heatmap_correlation']:.4f}",
    "accuracy, all compared images": lambda facts: _change(facts, "accuracy"),
    "accuracy, validation images": lambda facts: _change(facts, "accuracy_on_validation"),
    'same answer to "suspicious"': lambda facts: _percent(facts.get("same_suspicion")),
    "gate": lambda facts: "passed" if facts["passed"] else "**refused**",
}
"""The rows of the parity table: a title, and what is shown of a precision. Differences of accuracy stand with the 95 %
interval of paired proportions."""


def _refusal(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    if facts["failures"]:
        calibration = facts.get("calibration", {"images": 0, "asked_for": 0})
        advice = _ADVICE[name] if calibration["images"] >= calibration["asked_for"] else _ADVICE["int8, few images"]
        yield f"**{name.upper()} was refused and not written**: {'; '.join(facts['failures'])}. {advice}"
        yield ""


def _attempts(facts: Mapping[str, Any] | None) -> list[str]:
    """Returns the table of what the search for INT8 tried."""
    if facts is None:
        return []
    calibration, scheme = facts["calibration"], facts["quantization"]
    rows = [
        [
            attempt["calibrator"],
            attempt["residual_adds"],
            str(len(attempt["layers_in_float"])),
            f"{attempt['parity']['agreement']:.2%}",
            f"{attempt['parity']['mean_dp']:.4f}",
            f"{attempt['parity']['heatmap_correlation']:.4f}",
            _change(attempt, "accuracy"),
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
        "## INT8: what was tried",
        "",
        f"For {scheme['target']}, calibrated on {calibration['images']} images ({calibration['of']}; "
        f"{calibration['asked_for']} were asked for), bias corrected on {scheme['bias_correction']['images']} of them. "
        f"{'Taken' if facts['passed'] else 'The best, and refused too'}: {scheme['calibrator']}, "
        f"{scheme['residual_adds']} adds, {len(scheme['layers_in_float'])} layers in float. Milliseconds are for one "
        "image on the machine that exported, good for a comparison within this table.",
        "",
        *table(heads, rows),
        "",
    ]


def _flaws(leaks: Mapping[str, Any] | None) -> list[str]:
    """Returns what these figures have to be read with: how many images stood in the data set more than once."""
    if leaks is None:
        return []
    rows = [
        ["groups of files with identical pixels", f"{leaks['groups']} ({leaks['files']} files)"],
        ["of these, across splits", f"{leaks['groups_across_splits']} ({leaks['files_across_splits']} files)"],
        ["of these, with different labels", f"{leaks['groups_with_several_labels']}"],
        ["files that leaked from an earlier split", _counts(leaks["leaked"])],
        ["files kept out by `--drop-leaks`", _counts(leaks["dropped"])],
    ]
    return [*table(["copies in the data set", ""], rows), ""]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {count}" for split, count in counts.items()) or "none"


def _operating_point(point: Mapping[str, Any] | None) -> list[str]:
    if point is None:
        return []
    return [
        "## Operating point",
        "",
        f"An image is suspicious where the probabilities of {', '.join(point['positive'])} sum to "
        f"{point['threshold']:.4g} or more. On the validation images, on which this was fitted: sensitivity "
        f"{_with_interval(point, 'sensitivity')}, specificity {_with_interval(point, 'specificity')}"
        f"{' (95 % intervals)' if point.get('sensitivity_interval') else ''}.",
        "",
    ]


def _with_interval(point: Mapping[str, Any], name: str) -> str:
    interval = point.get(f"{name}_interval")
    return _share(point[name]) + (f" [{_share(interval[0])}, {_share(interval[1])}]" if interval else "")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
