"""Notes below the table of a benchmark: failures, warnings and their reasons."""

from collections.abc import Mapping
from typing import Any

from ctonnx.inference.providers import PROVIDERS, int8_targets
from ctonnx.parity.comparison import MAX_DP
from ctonnx.parity.rounding import shown
from ctonnx.system.cpu import architecture
from ctonnx.system.text import counted

__all__ = ["RIGHT", "notes"]

RIGHT = "right: the answers agree with the reference's as the gate asks; it does not mean a correct diagnosis"
"""What stands wherever answers are called right."""


def notes(document: Mapping[str, Any], *, compared: bool = True) -> list[str]:
    """Returns what must be known to read the table: reference, MLPerf's measures, doubts, failures, who is missing.

    Args:
        document: The benchmark's.
        compared: Whether what it was compared with is among them.
    """
    checked, settings = document["checked_on"], document["settings"]
    lines = [
        *_failures(document),
        f"agreement and |dp| on {checked['about']} against {checked['reference']}; while timing, every probability and "
        "logit was checked, and each image's last heatmap",
        MAX_DP,
        f"{counted(settings['rounds'], 'round')} of processes, {settings['duration']:g} s a case",
        "milliseconds are of a whole batch; cold: from the process's start to its first answer; RAM: its peak",
    ]
    asked: dict[str, list[str]] = {}
    for case in document["cases"]:
        if case["own"]:
            asked.setdefault(case["gate"], []).append(case["precision"].upper())
    lines.append(RIGHT)
    lines += [f"right, {', '.join(dict.fromkeys(names))}: {gate}" for gate, names in asked.items()]
    lines += [*_made_for_others(document), *checked["cautions"]]
    if any(case["verdict"] == "not shown" for case in document["cases"]):
        lines.append(
            "not shown: below a bound, which its 95 % interval or what the export kept reaches, so that these images "
            "show neither right nor wrong; more images do, with --data"
        )
    if checked["reference_wrong"]:
        lines.append("the reference is wrong itself, on the golden inputs: to agree with it says nothing")
    if any(case["verdict"] == "reference" for case in document["cases"]):
        lines.append(
            "reference: held against itself, so nothing says that it is right; golden.npz beside the model would, or "
            "--reference RUN"
        )
    if than := next((case["times_as_fast"]["than"] for case in document["cases"] if case["times_as_fast"]), None):
        lines.append(
            f"x {than}: how many times as fast at the same batch size, in the same round: median (least to greatest)"
        )
    if checked["calibrated_on_them"]:
        lines.append(
            "OpenVINO, its INT8: calibrated on the very images that judge it, which flatters it; --data with training "
            "images would not"
        )
    if any(case["doubts"] for case in document["cases"]):
        lines.append("~ the figures are to be doubted, ! the machine was slowed down; why stands below")
    doubted: dict[str, list[str]] = {}
    for case in document["cases"]:
        for doubt in case["doubts"]:
            doubted.setdefault(doubt, []).append(_where(case))
    lines += [f"{doubt}: {'; '.join(where)}" for doubt, where in doubted.items()]
    for title, found in document["mlperf"].items():
        said = []
        if found["single_stream_ms"] is not None:
            mark = " ~" if found["doubted"] else ""
            said.append(f"SingleStream {found['single_stream_ms']:.2f} ms{mark} (90th percentile)")
        mark = " ~" if found["offline_doubted"] else ""
        said.append(f"Offline {found['offline_images_per_s']:.1f} images/s{mark} (batch {found['offline_batch_size']})")
        lines.append(f"MLPerf's measures, {title}: {', '.join(said)}")
    if earlier := document.get("compared_with") if compared else None:
        lines += [
            f"against the report of {earlier['created']}: {change['case']}, {change['figure']}: "
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
            f"{'FAILED' if case['own'] else 'WRONG'}: {_where(case)}: {failure}"
            for case in document["cases"]
            for failure in case["failures"]
        ),
        *(
            f"NOT SHOWN: {_where(case)}: {doubt}"
            for case in document["cases"]
            if case["verdict"] == "not shown"
            for doubt in case["not_shown"]
        ),
        *(f"FAILED: {name}: {reason}" for name, reason in document["broken"].items() if name not in named),
    ]


def _made_for_others(document: Mapping[str, Any]) -> list[str]:
    """Says which INT8 files another --target of the export would make faster here."""
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
                f"{model['file']} is for --target {target}, not for {provider} on this processor, where it can be "
                "slower than FP32"
            )
        elif target in better and better[target] not in measured:
            has = "has AMX" if target == "x86" else "has no AMX"
            lines.append(
                f"{model['file']} is for --target {target}, and this processor {has}: exported from the same images, "
                f"INT8 of --target {better[target]} gives the same answers, faster"
            )
    return lines


def _where(case: Mapping[str, Any]) -> str:
    return f"{case['title']}, batch {case['batch_size']}"
