"""The stress test as text, and as the file of a run that the export's model card reads."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ctonnx.artifacts.decision.rule import describe_basis
from ctonnx.artifacts.run import Run
from ctonnx.parity.rounding import exactly, shown
from ctonnx.system.files import write_text
from ctonnx.system.text import counted, table
from ctonnx_train.stress.gate import decided_before, failures, holds_until, unshown

__all__ = ["FEW", "as_markdown", "gate_lines", "write_of_run"]

FEW = 0.05
"""Share of altered decisions up to which a change counts as harmless in the tables and the plot."""

_FEW_DECIDED = 0.5
_KINDS = {
    "decision_changed": "decision changed",
    "flipped": "flipped",
    "newly_referred": "newly referred",
    "newly_decided": "no longer referred",
    "class_changed": "class changed",
}


_JUDGED = {
    "decision_changed": "decisions change",
    "flipped": "decisions flip",
    "class_changed": "classes change",
}


def write_of_run(document: Mapping[str, Any], run: Run) -> None:
    """Writes stress.json into the evaluation folder of a run, where the export finds it."""
    run.stress_file.parent.mkdir(exist_ok=True)
    write_text(run.stress_file, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def as_markdown(document: Mapping[str, Any]) -> str:
    """Returns the section of the stress test for an evaluation's report."""
    return "\n".join(_lines(document)) + "\n"


def gate_lines(document: Mapping[str, Any], bound: float) -> Iterator[str]:
    """Yields a line for each change that breaks the bound, one about those that cannot be shown, and the verdict.

    A model that decides about no image fails, and has no other line; one that decides about few has a note.
    """
    limit = exactly(bound, form="%")
    decided, images = decided_before(document), document["images"]
    if not decided:
        scans = counted(images, "unchanged scan")
        yield f"gate of {limit}: failed: all of the {scans} are referred, so that no decision could keep it"
        return
    broken = failures(document, bound)
    for title, of, kind in broken:
        change = of[kind]
        share = shown(change["share"], bound, digits=1, form="%")
        line = f"{title}, {of['shown']}: {share} of the {_JUDGED[kind]} ({change['count']} of {change['images']})"
        if kind == "decision_changed":
            line += f": {of['flipped']['count']} flipped, {of['newly_referred']['count']} newly referred"
        yield line
    if decided < _FEW_DECIDED * images:
        yield (
            f"note: only {decided} of {counted(images, 'unchanged scan')} are decided, the others referred: the gate "
            "is about these alone"
        )
    if few := unshown(document, bound):
        verb = "keeps" if len(few) == 1 else "keep"
        yield (
            f"note: {counted(len(few), 'change')} {verb} {limit} on these {counted(decided, 'image')}, but the 95 % "
            "interval reaches beyond it: more images can show it"
        )
    yield f"gate of {limit}: " + (f"failed by {counted(len(broken), 'change')}" if broken else "passed")


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield "## Stress test\n"
    measured, data = document["model"], document["data"]
    yield (
        f"{measured['kind']} `{measured['file']}` (SHA-256 {measured['sha256'][:12]}) on {data['name']} "
        f"({document['split']}, fingerprint {data['fingerprint'][:12]}).\n"
    )
    yield (
        "The same scans, changed as another scanner, window, viewer or file format would, must not change their "
        f"decision. {_decided_by(document)}\n"
    )
    rows, can_change = [], decided_before(document)
    for transform in document["transforms"]:
        if not can_change:
            rows.append([transform["title"], "-", "-"])
            continue
        kind, found = transform["judged_by"], holds_until(transform, FEW)
        worst = max(transform["strengths"], key=lambda of: of[kind]["share"] or 0)
        until = "none" if found is None else found["shown"]
        flips = " flipped" if kind == "flipped" else ""
        rows.append([transform["title"], until, f"{_percent(worst[kind])}{flips} at {worst['shown']}"])
    kind = "decision_changed" if document["decided_by"]["operating_point"] else "class_changed"
    yield from table(["change", f"{FEW:.0%} or less {_KINDS[kind]} up to", "most"], rows, padded=True)
    yield ""
    kinds = [name for name in _KINDS if name in document["transforms"][0]["strengths"][0]]
    rows = [
        [transform["title"], of["shown"], *(_with_interval(of[name]) for name in kinds)]
        for transform in document["transforms"]
        for of in transform["strengths"]
    ]
    yield from table(["change", "strength", *(_KINDS[name] for name in kinds)], rows, padded=True)
    yield ""
    by_class = document["transforms"][0]["strengths"][0]["by_class"]
    classes = {name: of[kind]["images"] for name, of in by_class.items()}
    rows = []
    for transform in document["transforms"]:
        of = transform["strengths"][:2][-1]
        rows.append([transform["title"], of["shown"], *(_percent(of["by_class"][name][kind]) for name in classes)])
    yield (
        "Shares of the images that were decided before the change: decision changed, which is flipped or newly "
        "referred; of those that were referred: no longer referred; of all images: class changed. Of inverted scans, "
        "the first table counts the flips only: to refer them is right.\n"
        if document["decisions"]
        else "Shares of all images.\n"
    )
    of_images = ", of the images that were decided before" if document["decisions"] else ""
    yield f"By true class (number of images), {_KINDS[kind]}{of_images}, at the middle strength:\n"
    heads = [f"{_cell(name)} ({images})" for name, images in classes.items()]
    yield from table(["change", "strength", *heads], rows, padded=True)
    yield ""
    yield "Intervals: 95 %, Wilson score. They assume independent images."


def _decided_by(document: Mapping[str, Any]) -> str:
    found = document["decided_by"]
    if not found["operating_point"]:
        return "The model has no operating point: only its predicted classes are compared."
    counts = document["decisions"]
    basis = describe_basis(sets=found["prediction_sets"], novelty=found["novelty"])
    text = (
        f"The decisions rest on {basis}; of {counted(document['images'], 'unchanged scan')}, {counts['positive']} are "
        f"positive, {counts['negative']} negative, {counts['refer']} referred. A flipped decision became the opposite "
        "one; one that is newly referred asks a person, and is not an error of the model."
    )
    decided = decided_before(document)
    if not decided:
        text += " **All are referred before any change: there is no decision that could change.**"
    elif decided < _FEW_DECIDED * document["images"]:
        text += f" **Only {decided} are decided: what follows is about these.**"
    return text


def _percent(change: Mapping[str, Any]) -> str:
    return "-" if change["share"] is None else shown(change["share"], FEW, digits=1, form="%")


def _with_interval(change: Mapping[str, Any]) -> str:
    if change["interval"] is None:
        return "-"
    low, high = change["interval"]
    return f"{_percent(change)} [{low:.1%}, {high:.1%}]"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
