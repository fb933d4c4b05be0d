"""The export's report, as JSON for programs and Markdown for people."""

import json
from collections.abc import Mapping
from typing import Any

from ctonnx.parity import Gate
from ctonnx.spec import ModelSpec

__all__ = ["as_json", "as_markdown", "report"]

_PARITY_NAMES = {
    "images": "images compared",
    "agreement": "same most probable class",
    "max_dp": "max \\|dp\\|",
    "mean_dp": "mean \\|dp\\|",
    "max_dlogit": "max \\|dlogit\\|",
    "max_dheatmap": "max heatmap difference, relative",
}


def report(
    spec: ModelSpec, gate: Gate, files: Mapping[str, Mapping[str, Any]], notes: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the report: the model's spec, its gate, and each file with its size and SHA-256.

    Args:
        spec: as it stands in the model.
        gate: that the model passed.
        files: `bytes` and `sha256` by file name.
        notes: what happened on the way, by the step's name.
    """
    return {
        "model": json.loads(spec.to_json()),
        "gate": {"passed": True, "max_dp": gate.max_dp, "min_agreement": gate.min_agreement},
        "files": {name: dict(facts) for name, facts in files.items()},
        "notes": dict(notes),
    }


def as_json(facts: Mapping[str, Any]) -> str:
    """Returns the report's JSON text."""
    return json.dumps(facts, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def as_markdown(facts: Mapping[str, Any]) -> str:
    """Returns the report's Markdown text."""
    model = facts["model"]
    parity = model["parity"]
    lines = [f"# {model['name']}: export report", ""]
    if model["synthetic"]:
        lines += ["**Trained on synthetic phantoms: its answers mean nothing for patients.**", ""]
    lines += [
        "A research tool, not a medical device.",
        "",
        "## Parity with PyTorch",
        "",
        f"The {model['precision'].upper()} file passed its gate (max \\|dp\\| at most {facts['gate']['max_dp']:g}) on "
        "the validation images.",
        "",
        "| figure | value |",
        "| --- | --- |",
        *(f"| {label} | {_figure(name, parity[name])} |" for name, label in _PARITY_NAMES.items()),
        "",
        "## Metrics of the checkpoint",
        "",
        "| images | number | accuracy | macro F1 | macro AUROC |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {split} | {metrics['images']} | {_share(metrics['accuracy'])} | {_share(metrics['macro']['f1'])} "
            f"| {_share(metrics['macro']['auroc'])} |"
            for split, metrics in model["metrics"].items()
        ),
        "",
        *_flaws(model["data"].get("leaks")),
        *_operating_point(model["operating_point"]),
        "## Model",
        "",
        "| what | value |",
        "| --- | --- |",
        f"| classes | {', '.join(model['classes'])} |",
        f"| input | `pixels`, uint8 [batch, {model['preprocessing']['size']}, {model['preprocessing']['size']}, 3] |",
        f"| colour, resize | {model['preprocessing']['color']}, {model['preprocessing']['resize']} |",
        f"| temperature | {model['temperature']:.4g} |",
        f"| trained | {model['created']} on `{model['data']['name']}` |",
        f"| data fingerprint | `{model['data']['fingerprint']}` |",
        f"| checkpoint SHA-256 | `{model['checkpoint_sha256']}` |",
        *(f"| {step} | {note} |" for step, note in facts["notes"].items()),
        f"| versions | {', '.join(f'{name} {version}' for name, version in model['versions'].items())} |",
        "",
        "## Files",
        "",
        "| file | bytes | SHA-256 |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {file['bytes']} | `{file['sha256']}` |" for name, file in facts["files"].items()),
        "",
        "`golden.npz` holds pixels of validation images: treat it as you treat the images themselves.",
    ]
    return "\n".join(lines) + "\n"


def _flaws(leaks: Mapping[str, Any] | None) -> list[str]:
    """Returns what these figures have to be read with: how many images stood in the data set more than once."""
    if leaks is None:
        return []
    rows = [
        ("groups of files with identical pixels", f"{leaks['groups']} ({leaks['files']} files)"),
        ("of these, across splits", f"{leaks['groups_across_splits']} ({leaks['files_across_splits']} files)"),
        ("of these, with different labels", f"{leaks['groups_with_several_labels']}"),
        ("files that leaked from an earlier split", _counts(leaks["leaked"])),
        ("files kept out by `--drop-leaks`", _counts(leaks["dropped"])),
    ]
    return ["| copies in the data set | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows), ""]


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


def _figure(name: str, value: float) -> str:
    return f"{value:.2%}" if name == "agreement" else f"{value:.3g}" if isinstance(value, float) else str(value)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
