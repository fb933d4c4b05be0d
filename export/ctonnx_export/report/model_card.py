"""The model card: what a person should know before using an exported model (Mitchell et al. 2019)."""

from collections.abc import Mapping
from typing import Any

from ctonnx.artifacts.spec import describe_leakage
from ctonnx.system.text import table
from ctonnx_export.report.markdown import parity_table, pending_lines

__all__ = ["model_card"]

_PURPOSES = {
    "model.fp32.onnx": "the reference, equal to PyTorch within 1e-4",
    "golden.npz": "inputs and answers for `ctonnx verify`",
}
_PLACES = {
    "x86": "x86 CPUs",
    "amx": "x86 CPUs with AMX",
    "arm": "ARM CPUs",
    "tensorrt": "NVIDIA GPUs through TensorRT",
}


def model_card(facts: Mapping[str, Any]) -> str:
    """Returns the export folder's README.md, after Mitchell et al. 2019 (https://doi.org/10.1145/3287560.3287596).

    Args:
        facts: of `ctonnx_export.report.facts.report`.
    """
    model = facts["model"]
    size = model["preprocessing"]["size"]
    lines = [
        f"# {model['name']}",
        "",
        "**A research tool, not a medical device.** Its answers are no diagnosis, and no decision about a patient may "
        "rest on them.",
        "",
        *(
            ["**It was trained on synthetic phantoms: its answers mean nothing for patients.**", ""]
            if model["synthetic"]
            else []
        ),
        f"A ResNet50 that tells {len(model['classes'])} classes of CT images apart: {', '.join(model['classes'])}. It "
        f"takes 8-bit pixels of {size} x {size} and gives probabilities and a Grad-CAM heatmap for each class.",
        "",
        *pending_lines(facts),
        "## Files",
        "",
        *table(
            ["file", "MB", "what"],
            [
                [f"`{name}`", f"{file['bytes'] / 1e6:.3g}", _purpose(name, facts)]
                for name, file in facts["files"].items()
            ],
        ),
        "",
        "```console",
        "$ ctonnx verify .              # does this device say what the original said?",
        "$ ctonnx predict --model . scans/",
        "```",
        "",
        "## Data",
        "",
        f"`{model['data']['name']}`, fingerprint of the images `{model['data']['fingerprint'][:16]}`: "
        f"{_images(model['data']['images'])}.",
        *_leaks(model["data"]),
        "",
        "## How well it does",
        "",
        "The PyTorch original's figures, with 95 % intervals:",
        "",
        *table(
            ["images", "number", "accuracy", "balanced accuracy", "macro sensitivity", "macro AUROC"],
            [
                [
                    split,
                    str(of["images"]),
                    *(_figure(of, *path) for path in (["accuracy"], ["balanced_accuracy"])),
                    *(_figure(of, "macro", name) for name in ("sensitivity", "auroc")),
                ]
                for split, of in model["metrics"].items()
            ],
        ),
        "",
        *_classes(model["metrics"]),
        "The validation images chose the best epoch, the temperature and the operating point: figures on them flatter. "
        + ("" if "test" in model["metrics"] else "There were no test images. ")
        + "`ctonnx evaluate` measures it on others.",
        "",
        "## How near the files come to it",
        "",
        "FP32 against PyTorch, the others against FP32; [report.md](report.md) tells how. An INT8 model is chosen for "
        "its figures on these images: on others expect somewhat less.",
        "",
        *parity_table(facts["precisions"]),
        "",
        "## Limits",
        "",
        "- It knows only its classes: any image, a photograph of a cat too, gets one of them.",
        "- It was tried on images of the same source as those it was trained on. Another scanner, protocol, window or "
        "population may lower the figures; measure before you use it there.",
        "- It sees single slices, scaled to its input, no volumes; findings smaller than a few of its pixels are lost.",
        "- A heatmap shows where the network looked, and is no segmentation.",
        *(f"- {note[0].upper()}{note[1:]}." for note in facts["notes"]),
        "- `golden.npz` holds pixels of validation images: treat it as you treat the images themselves.",
    ]
    return "\n".join(lines) + "\n"


def _purpose(name: str, facts: Mapping[str, Any]) -> str:
    if name in _PURPOSES:
        return _PURPOSES[name]
    share = facts["files"][name]["bytes"] / facts["files"]["model.fp32.onnx"]["bytes"]
    quantization = facts["precisions"][name.removeprefix("model.").removesuffix(".onnx")]["quantization"]
    return f"{share:.0%} of the size, for {_PLACES[quantization['target']] if quantization else 'GPUs'}"


def _images(counts: Mapping[str, Mapping[str, int]]) -> str:
    uses = {"train": "to train on", "valid": "to validate on", "test": "to test on"}
    return "; ".join(
        f"{sum(of.values())} images {uses[split]} ({', '.join(f'{name} {count}' for name, count in of.items())})"
        for split, of in counts.items()
        if sum(of.values())
    )


def _leaks(data: Mapping[str, Any]) -> list[str]:
    leaks = describe_leakage(data)
    return ["", f"**{leaks}.**"] if leaks else []


def _figure(metrics: Mapping[str, Any], *path: str) -> str:
    value, interval = metrics, metrics.get("intervals")
    for name in path:
        value = value[name]
        interval = interval and interval[name]
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _classes(metrics: Mapping[str, Any]) -> list[str]:
    split = "test" if "test" in metrics else "valid"
    return [
        f"On the {split} images, class by class:",
        "",
        *table(
            ["class", "images", "sensitivity", "specificity", "AUROC"],
            [
                [
                    name,
                    str(of["images"]),
                    *(
                        _figure(metrics[split], "per_class", name, figure)
                        for figure in ("sensitivity", "specificity", "auroc")
                    ),
                ]
                for name, of in metrics[split]["per_class"].items()
            ],
        ),
        "",
    ]
