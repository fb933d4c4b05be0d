"""Notes below the table of a benchmark: failures, warnings and their reasons."""

from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx.inference.providers import PROVIDERS, int8_targets
from ctonnx.parity.comparison import MAX_DP
from ctonnx.parity.rounding import shown
from ctonnx.system.cpu import architecture
from ctonnx.system.text import counted

__all__ = ["RIGHT", "notes", "unreliable_lines"]

RIGHT = (
    "right: the outputs agree with the reference within the bounds of the gate; it does not mean a correct diagnosis"
)
"""Explanation of the verdict `right`, in every report that contains it."""


def notes(document: Mapping[str, Any], *, compared: bool = True) -> list[str]:
    """Returns the notes of the table: failures, reference, verdicts, warnings, MLPerf's measures, skipped peers.

    With `compared`, they include the comparison with an earlier report.
    """
    checked, settings = document["checked_on"], document["settings"]
    lines = [
        *_failures(document),
        f"agreement and |dp| on {checked['about']} against {checked['reference']}; while timing, every probability and "
        "logit was checked, and each image's last heatmap",
        MAX_DP,
        f"{counted(settings['rounds'], 'round')} of processes, {settings['duration']:g} s per case",
        "milliseconds are per batch; cold: from the start of the process to its first output; RAM: its peak",
    ]
    gates: dict[str, list[str]] = {}
    for case in document["cases"]:
        if case["own"]:
            gates.setdefault(case["gate"], []).append(case["precision"].upper())
    lines.append(RIGHT)
    lines += [f"right, {', '.join(dict.fromkeys(names))}: {gate}" for gate, names in gates.items()]
    lines += [*_made_for_others(document), *checked["cautions"]]
    if any(case["verdict"] == "not shown" for case in document["cases"]):
        lines.append(
            "not shown: a bound is missed, but is within the 95 % interval, or was missed at export too: these images "
            "show neither right nor wrong; use more images with --data"
        )
    if checked["reference_wrong"]:
        lines.append("the reference itself is wrong on the golden inputs: agreement with it proves nothing")
    if any(case["verdict"] == "reference" for case in document["cases"]):
        lines.append(
            "reference: compared with itself, which does not show that it is right; golden.npz beside the model or "
            "--reference RUN would"
        )
    if than := next((case["times_as_fast"]["than"] for case in document["cases"] if case["times_as_fast"]), None):
        lines.append(f"x {than}: speedup at the same batch size, in the same round: median (minimum to maximum)")
    if checked["calibrated_on_them"]:
        lines.append(
            "OpenVINO, its INT8: calibrated on the same images that it is checked on, which is optimistic; use --data "
            "with training images"
        )
    lines += unreliable_lines(document["cases"], "title")
    for title, found in document["mlperf"].items():
        measures = []
        if found["single_stream_ms"] is not None:
            mark = " ~" if found["doubted"] else ""
            measures.append(f"SingleStream {found['single_stream_ms']:.2f} ms{mark} (90th percentile)")
        mark = " ~" if found["offline_doubted"] else ""
        offline = f"Offline {found['offline_images_per_s']:.1f} images/s{mark} (batch {found['offline_batch_size']})"
        lines.append(f"MLPerf's measures, {title}: {', '.join([*measures, offline])}")
    if earlier := document.get("compared_with") if compared else None:
        lines += [
            f"compared with the report of {earlier['created']}: {change['case']}, {change['figure']}: "
            f"{change['before']:.2f}, now {change['now']:.2f} "
            f"({shown(change['worse'], earlier['fail_over'], digits=1, form='%', sign='+')})"
            for change in earlier["changes"]
        ]
        lines += earlier["cautions"]
    lines += [f"{title}: skipped, {reason}" for title, reason in document["skipped"].items()]
    return lines


def _failures(document: Mapping[str, Any]) -> list[str]:
    named = {case["name"] for case in document["cases"]}
    return [
        *(
            f"{'FAILED' if case['own'] else 'WRONG'}: {_named(case)}: {failure}"
            for case in document["cases"]
            for failure in case["failures"]
        ),
        *(
            f"NOT SHOWN: {_named(case)}: {bound}"
            for case in document["cases"]
            if case["verdict"] == "not shown"
            for bound in case["not_shown"]
        ),
        *(f"FAILED: {name}: {reason}" for name, reason in document["broken"].items() if name not in named),
    ]


def _made_for_others(document: Mapping[str, Any]) -> list[str]:
    """Returns a note for each INT8 file that another --target of the export would make faster here."""
    about, provider = document["environment"], document["settings"]["provider"]
    if "int8" not in PROVIDERS[provider].precisions:
        return []
    processor = architecture(about["architecture"])
    better: dict[str, str] = {}
    if provider == "cpu" and processor == "x86" and about["features"]:
        better = {"x86": "amx"} if "amx_int8" in about["features"] else {"amx": "x86"}
    measured = {model["target"] for model in document["models"]}
    lines = []
    for model in document["models"]:
        target = model["target"]
        if target is not None and target not in int8_targets(provider, processor):
            lines.append(
                f"{model['file']} is for --target {target}; with {provider} on this processor it can be slower than "
                "FP32"
            )
        elif target in better and better[target] not in measured:
            has = "has AMX" if target == "x86" else "has no AMX"
            lines.append(
                f"{model['file']} is for --target {target}, and this processor {has}: from the same images, "
                f"INT8 exported for --target {better[target]} computes the same outputs faster"
            )
    return lines


def unreliable_lines(cases: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Returns a line for each reason why measurements are unreliable, with their cases; `name` is the key of a name."""
    unreliable: dict[str, list[str]] = {}
    for case in cases:
        for warning in case["doubts"]:
            unreliable.setdefault(warning, []).append(f"{case[name]}, batch {case['batch_size']}")
    first = ["~ unreliable measurement, ! the machine was slowed down; see the notes below"] if unreliable else []
    return first + [f"{warning}: {'; '.join(names)}" for warning, names in unreliable.items()]


def _named(case: Mapping[str, Any]) -> str:
    return f"{case['title']}, batch {case['batch_size']}"
