"""Metrics of patients as text: a section of a report, and a table for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from ctonnx.artifacts.decision.patient_rule import aggregate_title
from ctonnx.parity.rounding import cautious
from ctonnx.system.text import counted, table
from ctonnx_train.evaluation.fitting.decisions import decisions_as_text
from ctonnx_train.evaluation.fitting.lines import decision_lines, escape_cell, suspicious_lines
from ctonnx_train.evaluation.patients.slices import left_out_in_words
from ctonnx_train.evaluation.statistics.metrics import as_table, as_text

__all__ = ["NO_RULE", "patient_lines", "patient_table"]

NO_RULE = (
    "No metrics per patient: this model has no rule for patients, and the threshold of single images is not one for "
    "patients. `--aggregate` measures its scores; training with patients fits a rule"
)
"""The reason for an evaluation without metrics per patient."""

_SIGNIFICANT = 0.05  # of the adjusted p-values
_CLASS_METRICS = {"sensitivity": "sensitivity (recall)", "specificity": "specificity", "auroc": "AUROC"}


def patient_lines(found: Mapping[str, Any], *, seen: bool) -> Iterator[str]:
    """Yields the section of a report on patients, as Markdown.

    Args:
        found: Metrics from `ctonnx_train.evaluation.patients.metrics.patient_metrics`.
        seen: Whether the rule was fitted on some of these patients.
    """
    yield "## Patients\n"
    whole = (
        f"{counted(found['count'], 'patient')} with {counted(found['images'], 'image')} (patients: {found['origin']})"
    )
    if found["rule"] is None:
        yield f"{whole}. {NO_RULE}.\n"
        return
    metrics, rule = found["metrics"], found["rule"]
    intervals = metrics.get("intervals", {})
    slices = aggregate_title(rule["aggregate"], rule["k"])
    fitted = "the model's rule" if rule["threshold"] is not None else "--aggregate, without a threshold"
    yield (f"{whole}. A patient's score and probabilities are those of {slices} ({fitted}).\n")
    if words := left_out_in_words(found.get("left_out")):
        yield f"As in `ctonnx predict --by patient`, {words}.\n"
    rows = [
        [title, as_text(metrics[name], intervals.get(name))]
        for name, title in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy"))
    ]
    if found["auroc"] is not None:
        rows.append(["AUROC of the score", as_text(found["auroc"]["value"], found["auroc"]["interval"])])
    yield from table(["metric", "per patient"], rows)
    yield ""
    rows = []
    for name, of in metrics["per_class"].items():
        bounds = intervals.get("per_class", {}).get(name, {})
        shown = [as_text(of[metric], bounds.get(metric)) for metric in _CLASS_METRICS]
        rows.append([escape_cell(name), str(of["patients"]), *shown])
    yield from table(["class", "patients", *_CLASS_METRICS.values()], rows)
    yield ""
    yield from suspicious_lines(found["suspicious"], "validation patients", "patient")
    yield from decision_lines(found["decisions"], seen=seen, unit="patient")
    if found["decisions"] and "coverage" not in found["decisions"]:
        yield "No prediction sets of patients: there were too few validation patients.\n"
    if found["subgroups"]:
        yield from _subgroups(found["subgroups"])


def patient_table(title: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Yields the metrics of patients for the terminal, with those of the rule below."""
    rule = found["rule"]
    yield as_table(f"{title}, per patient", found["metrics"], "patient")
    if words := left_out_in_words(found.get("left_out")):
        yield words
    if of := found["suspicious"]:
        shown = (f"{name} {cautious(of[name], of[f'{name}_interval'])}" for name in ("sensitivity", "specificity"))
        slices = aggregate_title(rule["aggregate"], rule["k"])
        yield f"suspicious by {slices} of {of['threshold']:.6g} or more: {', '.join(shown)}"
    if of := found["decisions"]:
        yield f"decisions: {decisions_as_text(of)}"
    if subgroups := found["subgroups"]:
        yield from (f"{name}: {text}" for name, text in _verdicts(subgroups))


def _subgroups(found: Mapping[str, Any]) -> Iterator[str]:
    """Yields a table for each subgroup: a column for each group that is large enough, a row for each measure."""
    yield "### Subgroups\n"
    yield (
        f"Groups of {found['smallest']} or more patients, with 95 % Wilson score intervals. "
        f"{counted(found['tests'], 'permutation test')} ({found['permutations']} permutations of the patients); the "
        "p-values are adjusted for their number (Holm).\n"
    )
    for name, of in found["by"].items():
        values = of["values"]
        if values:
            heads = [escape_cell(name), *(f"{escape_cell(value)} ({one['patients']})" for value, one in values.items())]
            rows = [
                [
                    escape_cell(_measure(measure)),
                    *(_of(one[measure]) for one in values.values()),
                    *([_p_value(of["tests"].get(measure))] if len(values) > 1 else []),
                ]
                for measure in next(iter(values.values()))
                if measure != "patients"
            ]
            yield from table([*heads, *(["adjusted p"] if len(values) > 1 else [])], rows)
            yield ""
    for name, text in _verdicts(found):
        yield f"- {name}: {text}."
    yield ""


def _verdicts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields for each subgroup what its tests show, and the groups that are too small."""
    for name, of in found["by"].items():
        differing = [
            f"the {_measure(measure)} differs between the groups by {test['difference']:.3f} "
            f"(adjusted p = {test['adjusted_p_value']:.3g})"
            for measure, test in of["tests"].items()
            if test["adjusted_p_value"] < _SIGNIFICANT
        ]
        alike = "no difference at all" if len(of["values"]) > 1 else "no two groups to compare"
        if of["tests"]:
            alike = f"no difference beyond chance in {counted(len(of['tests']), 'test')}"
        parts = differing or [alike]
        if of["too_small"]:
            named = ", ".join(f"{value} ({count})" for value, count in of["too_small"].items())
            parts.append(f"too small: {named}")
        if rare := of["rare"]["values"]:
            parts.append(f"{counted(rare, 'value')} of fewer than 5 patients ({of['rare']['patients']} in all)")
        if of["unknown"]:
            parts.append(f"unknown for {counted(of['unknown'], 'patient')}")
        yield name, "; ".join(parts)


def _measure(name: str) -> str:
    titles = {"suspicious": "sensitivity at the threshold", "not suspicious": "specificity at the threshold"}
    return titles.get(name, f"sensitivity of {name.removeprefix('class ')}")


def _of(share: Mapping[str, Any]) -> str:
    return f"{cautious(share['value'], share['interval'])} of {share['patients']}"


def _p_value(test: Mapping[str, Any] | None) -> str:
    return "-" if test is None else f"{test['adjusted_p_value']:.3g}"
