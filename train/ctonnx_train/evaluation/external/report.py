"""An evaluation on external data as text and files."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ctonnx.artifacts.decision.rule import describe_reasons
from ctonnx.system.files import atomic_folder, write_text
from ctonnx.system.text import counted, escape_undecodable, table
from ctonnx_train.data.patients import source_in_words
from ctonnx_train.evaluation.external.shift import FACTS
from ctonnx_train.evaluation.statistics.shares import share_text

__all__ = ["as_markdown", "write_report"]

_DECISIONS = ("positive", "negative", "refer")


def write_report(document: Mapping[str, Any], folder: Path) -> None:
    """Writes `evaluation.json` and `report.md` to a folder atomically; an earlier evaluation is replaced."""
    with atomic_folder(folder) as temporary:
        write_text(
            temporary / "evaluation.json", escape_undecodable(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        )
        write_text(temporary / "report.md", escape_undecodable(as_markdown(document)))


def as_markdown(document: Mapping[str, Any]) -> str:
    """Returns the document of `evaluate_external` as Markdown; the first line is the verdict."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    model, data = document["model"], document["data"]
    yield f"**{document['verdict']['sentence'][0].upper()}{document['verdict']['sentence'][1:]}.**\n"
    for caveat in document["caveats"]:
        yield f"**Warning: {caveat}.**\n"
    if model["synthetic"]:
        yield "**Trained on synthetic phantoms: these metrics have no clinical meaning.**\n"
    images = f"{counted(data['images'], 'image')} ({data['split']})"
    yield f"{model['kind']} `{model['path']}` on {images} of `{data['path']}`."
    sides = [
        ", ".join(f"{name} ({data['classes'][name]})" for name in data[side] if name in data["classes"])
        for side in ("positive", "negative")
    ]
    left_out = f" Left out: {', '.join(data['left_out'])}." if data["left_out"] else ""
    yield f"Positive: {sides[0] or 'none'}. Negative: {sides[1] or 'none'}.{left_out}"
    yield f"The model's suspicious classes: {', '.join(document['positive_classes'])}."
    yield "A research tool, not a medical device.\n"
    rows = [
        [label, share_text(document[name], up=name in ("referred", "missed")), str(document[name]["images"])]
        for name, label in (
            ("auroc", "AUROC of the score"),
            ("sensitivity", "sensitivity at the operating point"),
            ("specificity", "specificity at the operating point"),
            ("referred", "referred to a reader"),
            ("missed", "positive scans with the decision `negative`"),
        )
    ]
    yield from table(["metric", "value and 95 % interval", "images"], rows)
    yield ""
    yield f"Referred by (a scan may have several reasons): {describe_reasons(document['referred_by'])}.\n"
    decisions = document["decisions"]
    rows = [
        [f"{side} scans", *(share_text(decisions[side][name], up=name != side) for name in _DECISIONS)]
        for side in ("positive", "negative")
    ]
    yield from table(["scans \\ decision", *_DECISIONS], rows)
    yield ""
    yield from _shift(document["shift"], document["model"]["fitted_on"])
    yield (
        "Intervals: 95 %; those of shares are exact (Clopper and Pearson), that of the AUROC percentiles of the "
        f"bootstrap. {_independence(data)}"
    )


def _independence(data: Mapping[str, Any]) -> str:
    copies, groups = data["copies"], data["groups"]
    left_out = ", ".join(
        f"{copies[name]} {why}"
        for name, why in (("repeated", "identical to another"), ("conflicting", "with a copy on the other side"))
        if copies[name]
    )
    text = f"Left out: {left_out}. " if left_out else "No two scans have identical pixels. "
    if groups is not None:
        return text + (
            f"The intervals allow for {counted(groups, 'group')} (patients from "
            f"{source_in_words(data['patients']['origin'])}): those of shares as if all scans of a group were alike, "
            "that of the AUROC by resampling whole groups."
        )
    return text + (
        "The intervals assume independent scans: if several are of one patient, they are too narrow; --labels or "
        "--group-regex names the patient. `ctonnx data audit` finds near-duplicates."
    )


def _shift(shift: Mapping[str, Any], fitted_on: str) -> Iterator[str]:
    yield "## How these scans differ from the training images\n"
    novelty = shift["novelty"]
    if novelty is None:
        yield "- Novelty: unknown, as the model has no such output."
    else:
        yield (
            f"- Novelty: {share_text(novelty['flagged'], up=True)} of the scans are above the threshold, where "
            f"{novelty['expected']:.2f} are expected; the median scan is at percentile "
            f"{novelty['median_percentile']:g} of the {fitted_on}."
        )
    for name, fact in shift["facts"].items():
        yield f"- {_fact(name, fact)}."
    if not shift["training_known"]:
        yield "- The model file has no facts of its training images to compare with, as those of earlier releases."
    yield ""


def _fact(name: str, fact: Mapping[str, Any]) -> str:
    title = FACTS[name][0].upper() + FACTS[name][1:]
    text = f"{title}: median {_number(fact['here'])} here"
    if fact.get("in_training"):
        trained = ", ".join(f"{_number(value)} ({kind})" for kind, value in fact["in_training"].items())
        text += f" against {trained} in training"
    if "outside" in fact:
        text += (
            f"; {share_text(fact['outside'], up=True)} of the scans are outside the middle 90 % of the training images"
        )
    return text


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3g}"
