"""Model card of an export (Mitchell et al. 2019)."""

from collections.abc import Mapping
from typing import Any

from ctonnx.artifacts.decision.shortcuts import describe_shortcuts
from ctonnx.artifacts.spec import describe_leakage
from ctonnx.system.text import table
from ctonnx_export.report.decisions import decision_lines
from ctonnx_export.report.markdown import GOLDEN_PIXELS, pending_lines
from ctonnx_export.report.parity_table import parity_table
from ctonnx_export.report.stress import stress_lines

__all__ = ["model_card"]

_PURPOSES = {
    "model.fp32.onnx": "the reference, equal to PyTorch within 1e-4",
    "golden.npz": "inputs and outputs for `ctonnx verify`",
}
_PLACES = {
    "x86": "x86 CPUs",
    "amx": "x86 CPUs with AMX",
    "arm": "ARM CPUs",
    "tensorrt": "NVIDIA GPUs through TensorRT",
}
_METRICS = (["accuracy"], ["balanced_accuracy"], ["macro", "sensitivity"], ["macro", "auroc"])


def model_card(facts: Mapping[str, Any]) -> str:
    """Returns the export folder's README.md, after Mitchell et al. 2019 (https://doi.org/10.1145/3287560.3287596)."""
    model = facts["model"]
    size = model["preprocessing"]["size"]
    patients = ", and a patient by the slices that its rule takes" if model.get("patient_rule") else ""
    lines = [
        f"# {model['name']}",
        "",
        "**A research tool, not a medical device.** Its predictions are not a diagnosis and must not be the basis of a "
        "decision about a patient.",
        "",
        *(
            ["**It was trained on synthetic phantoms: its predictions have no clinical meaning.**", ""]
            if model["synthetic"]
            else []
        ),
        f"{_network(model['networks'])} CT images into {len(model['classes'])} classes: "
        f"{', '.join(model['classes'])}. "
        f"Its input is {size} x {size} pixels of 8 bits; its outputs are the probability and a Grad-CAM heatmap of "
        "each class.",
        "",
        *pending_lines(facts),
        "## Files",
        "",
        *table(
            ["file", "MB", "content"],
            [
                [f"`{name}`", f"{file['bytes'] / 1e6:.3g}", _purpose(name, facts)]
                for name, file in facts["files"].items()
            ],
        ),
        "",
        "```console",
        "$ ctonnx verify .              # does this device reproduce the original's outputs?",
        "$ ctonnx predict --model . scans/",
        "```",
        "",
        "## Data",
        "",
        f"`{model['data']['name']}`, fingerprint of the images `{model['data']['fingerprint'][:16]}`: "
        f"{_images(model['data']['images'])}.",
        *(["", f"**{leaks}.**"] if (leaks := describe_leakage(model["data"])) else []),
        *(["", f"{found[0].upper()}{found[1:]}."] if (found := describe_shortcuts(model["shortcuts"])) else []),
        "",
        "## Metrics",
        "",
        "Metrics of the PyTorch original, with 95 % intervals:",
        "",
        *table(
            ["images", "number", "accuracy", "balanced accuracy", "macro sensitivity", "macro AUROC"],
            [
                [split, str(of["images"]), *(_metric(of, *path) for path in _METRICS)]
                for split, of in model["metrics"].items()
            ],
        ),
        "",
        *_classes(model["metrics"]),
        _chosen_by(model["data"].get("folds"), model["networks"])
        + ("" if "test" in model["metrics"] else "There were no test images. ")
        + "`ctonnx evaluate` measures the model on other images.",
        "",
        *decision_lines(facts),
        "## Numerical parity",
        "",
        "FP32 is compared with PyTorch, the other precisions with FP32 (see [report.md](report.md)). An INT8 model is "
        "chosen from several candidates, and its values are those of images that did not choose it.",
        "",
        *parity_table(facts["precisions"]),
        "",
        *stress_lines(facts),
        "## Limits",
        "",
        "- It knows only its classes: it names one of them for any image, even a photograph of a cat. The novelty and "
        "the warnings refer most of such images, and not all.",
        "- It was tested on images of the same source as its training images. Metrics may be lower for another "
        "scanner, protocol, window or population; measure them before you use it there.",
        f"- It classifies single slices, scaled to its input size, not volumes{patients}; findings of only a few of "
        "its pixels are lost.",
        "- A heatmap shows the regions that contributed to a class; it is not a segmentation.",
        *(f"- {note[0].upper()}{note[1:]}." for note in facts["notes"]),
        f"- {GOLDEN_PIXELS}",
    ]
    return "\n".join(lines) + "\n"


def _purpose(name: str, facts: Mapping[str, Any]) -> str:
    if name in _PURPOSES:
        return _PURPOSES[name]
    share = facts["files"][name]["bytes"] / facts["files"]["model.fp32.onnx"]["bytes"]
    quantization = facts["precisions"][name.removeprefix("model.").removesuffix(".onnx")]["quantization"]
    return f"{share:.0%} of the FP32 size, for {_PLACES[quantization['target']] if quantization else 'GPUs'}"


def _network(networks: int) -> str:
    """Returns the kind and number of networks, as the start of a sentence on their images."""
    if networks == 1:
        return "A ResNet50 that classifies"
    return (
        f"An ensemble of {networks} ResNet50s, with up to {networks} times the computation of one, whose mean "
        "probabilities classify"
    )


def _chosen_by(folds: int | None, networks: int) -> str:
    """Returns the sentence on the origin of the validation metrics; `folds` is None for a run of one network."""
    if folds is None:
        return (
            "The validation images selected the best epoch, the temperature and the operating point: metrics on them "
            "are optimistic. "
        )
    if networks > 1:
        return (
            "The validation metrics are those of the single networks, each on images that it was not trained on; the "
            "temperature and the operating point were fitted on these predictions, and the mean of all of them usually "
            "errs less. The test metrics are those of the mean. "
        )
    return (
        f"The model was trained on the validation images, too. The validation metrics are those of {folds} other "
        "networks of the same recipe, each on images that it was not trained on; the temperature and the operating "
        "point were fitted on these predictions. "
    )


def _images(counts: Mapping[str, Mapping[str, int]]) -> str:
    uses = {"train": "training", "valid": "validation", "test": "test"}
    return "; ".join(
        f"{sum(of.values())} {uses[split]} images ({', '.join(f'{name} {count}' for name, count in of.items())})"
        for split, of in counts.items()
        if sum(of.values())
    )


def _metric(metrics: Mapping[str, Any], *path: str) -> str:
    value, interval = metrics, metrics.get("intervals")
    for name in path:
        value = value[name]
        interval = interval and interval[name]
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _classes(metrics: Mapping[str, Any]) -> list[str]:
    split = "test" if "test" in metrics else "valid"
    shown = ("sensitivity", "specificity", "auroc")
    return [
        f"On the {split} images, per class:",
        "",
        *table(
            ["class", "images", "sensitivity", "specificity", "AUROC"],
            [
                [name, str(of["images"]), *(_metric(metrics[split], "per_class", name, metric) for metric in shown)]
                for name, of in metrics[split]["per_class"].items()
            ],
        ),
        "",
    ]
