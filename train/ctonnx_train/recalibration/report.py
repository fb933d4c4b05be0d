"""The result of a recalibration as text."""

from collections.abc import Iterator, Mapping
from typing import Any

from ctonnx.system.text import aligned, counted
from ctonnx_train.evaluation.statistics.shares import share_text
from ctonnx_train.recalibration.comparison import MEASURES, PATIENT_MEASURES

__all__ = ["as_text"]

_WORSE = {"nll", "ece", "referred", "novel"}  # the higher the measure


def as_text(document: Mapping[str, Any]) -> str:
    """Returns the document of `recalibrate_model` for a terminal."""
    return "\n".join(_lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    data = document["data"]
    images = ", ".join(f"{name} {count}" for name, count in data["images"].items())
    yield f"{document['model']} on {counted(sum(data['images'].values()), 'scan')} of {data['name']} ({images})"
    yield from (f"warning: {caveat}" for caveat in document["caveats"])
    yield ""
    before, after = document["before"], document["after"]
    rows = [["", "before", "after", "scans"]]
    measures = MEASURES | (PATIENT_MEASURES if document["groups"] is not None else {})
    for name, label in measures.items():
        texts = (share_text(found[name], up=name in _WORSE) for found in (before, after))
        rows.append([label, *texts, str(after[name]["images"])])
    yield from aligned(rows)
    kept = "groups kept together" if document["groups"] is not None else "each scan once"
    yield (
        f"After: cross-validated in {document['folds']} folds ({kept}): each scan is judged by values that were fitted "
        "without its fold. Before: by the model's earlier values. 95 % intervals."
    )
    yield ""
    yield from aligned([["value", "before", "after"], *_values(document["earlier"], document["values"])])
    if values := document["values"]["prediction_sets"]:
        side = " times that of its side, suspicious or not" if values["positive"] else ""
        yield f"Conformity: the class's probability{side}; a class is in an image's set from its lowest conformity on."
    yield ""
    yield f"network unchanged: SHA-256 {document['network_sha256']} before and after"
    golden = document["golden"]
    if golden:
        yield f"wrote {document['output']}, with its golden inputs in {golden}"
        yield "the golden inputs are those of the export: pixels of the training site's images, and none of these scans"
    else:
        yield f"wrote {document['output']}; without golden inputs, as the model has none"


def _values(earlier: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["temperature", *(f"{found['temperature']:.4g}" for found in (earlier, values))]
    yield ["operating point", *(_of(found["operating_point"], "threshold") for found in (earlier, values))]
    sets = values["prediction_sets"] or earlier["prediction_sets"]
    for name in sets["lowest"] if sets else ():
        lowest = (_of((found["prediction_sets"] or {}).get("lowest"), name) for found in (earlier, values))
        yield [f"lowest conformity of {name}", *lowest]
    rules = [found.get("patient_rule") for found in (earlier, values)]
    if any(rules):
        yield ["operating point of patients", *(_of(rule and rule["operating_point"], "threshold") for rule in rules)]
        yield ["slices that count for a patient", *(_slices(rule) for rule in rules)]
    yield ["novelty threshold", *(_of(found["novelty"], "threshold") for found in (earlier, values))]
    for name in ("low", "high"):
        yield [f"mean grey, {name} end", *(_of(found["brightness"], name) for found in (earlier, values))]


def _of(found: Mapping[str, Any] | None, name: str) -> str:
    return "-" if not found else f"{found[name]:.4g}"


def _slices(rule: Mapping[str, Any] | None) -> str:
    if not rule:
        return "-"
    return f"top-{rule['k']}" if rule["aggregate"] == "top-k" else str(rule["aggregate"])
