"""Decisions of a model, for the export's report and model card: their rule, and their metrics from the training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.caveats import NOVELTY_OF_LEAKED, images_to_promise, missing_checks
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import describe_reasons
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.rounding import cautious, exactly
from ctonnx.system.text import counted, table

__all__ = ["decision_lines"]

_SHARES = ("sensitivity", "specificity")
_TITLES = {"valid": "validation", "test": "test"}


def decision_lines(facts: Mapping[str, Any]) -> list[str]:
    """Returns the sections on the operating point and the decisions, from the facts of `ctonnx_export.report.facts`.

    Shares are never rounded in the model's favour: those referred are rounded up, all others down,
    and the ends of intervals outward.
    """
    spec = json_schema.read(ModelSpec, facts["model"])
    point, sets, novelty = spec.operating_point, spec.prediction_sets, spec.novelty
    lacks = [f"**{missing[0].upper()}{missing[1:]}.**", ""] if (missing := missing_checks(spec)) else []
    if point is None:
        return ["## Decisions", "", *(lacks or ["It has no operating point, so it makes no decisions.", ""])]
    reasons = [
        *(["its prediction set has classes of both kinds, or only of the other kind"] if sets else []),
        *(["it is unlike the training images (novelty)"] if novelty else []),
        *([spec.brightness.sentence()] if spec.brightness else []),
        "it gave a warning",
    ]
    return [
        "## Operating point",
        "",
        _point(point),
        "",
        "## Decisions",
        "",
        "An image is `positive` if it is suspicious, else `negative`. It is neither but `refer`, a person must look, "
        f"if {_alternatives(reasons)}.",
        "",
        *lacks,
        *_measured(spec.metrics, sets, novelty),
        *_sets(spec.metrics, spec.classes, sets),
        *_novelty(novelty),
        *_exported(facts["precisions"], spec.classes),
        *_patients(spec),
    ]


def _point(point: OperatingPoint) -> str:
    intervals = " (95 % intervals)" if point.sensitivity_interval else ""
    return (
        f"An image is suspicious if the probabilities of {', '.join(point.positive)} sum to {point.threshold:.6f} "
        f"or more. On the validation images, on which it was fitted: {point.metrics_text}{intervals}.{_fit(point)}"
    )


def _fit(point: OperatingPoint) -> str:
    """Returns the numbers of images that fitted the operating point and the gap around it; empty if unknown."""
    if point.gap is None:
        return ""
    left_out = point.leaked_images and not point.leaked_images_used
    leaked = f", without {point.leaked_images} that leaked from the training set" if left_out else ""
    return (
        f" It was fitted on {point.positive_images} suspicious images and {point.negative_images} others{leaked}; no "
        f"score is between {point.gap[0]:.6f} and {point.gap[1]:.6f}."
    )


def _measured(metrics: Mapping[str, Any], sets: PredictionSets | None, novelty: Novelty | None) -> Iterator[str]:
    """Yields the table of the decisions as training measured them, by split."""
    found = {split: of["decisions"] for split, of in metrics.items() if of.get("decisions")}
    if not found:
        yield "The run did not measure its decisions: train again to have them here, or `ctonnx evaluate` the model."
        yield ""
        return
    yield from table(
        ["images", "number", "referred", "sensitivity among those decided", "specificity among those decided"],
        [
            [
                _TITLES.get(split, split),
                str(of["images"]),
                f"{of['referred']} ({describe_reasons(of['referred_by'])}): {_share(of, 'referred_share', up=True)}",
                *(f"{_share(of, name)} of {of[f'{name}_images']}" for name in ("sensitivity", "specificity")),
            ]
            for split, of in found.items()
        ],
    )
    fitted = ["operating point", *(["prediction sets"] if sets else []), *(["novelty threshold"] if novelty else [])]
    counts_warnings = any("caution" in of["referred_by"] for of in found.values())
    yield ""
    yield (
        f"Decisions of the PyTorch original, with 95 % intervals. The {_listed(fitted)} "
        f"{'were' if len(fitted) > 1 else 'was'} fitted on the validation images: metrics on them are optimistic."
        + ("" if counts_warnings else " Warnings about an image are not counted; they can only refer more.")
    )
    yield ""


def _sets(metrics: Mapping[str, Any], classes: Sequence[str], sets: PredictionSets | None) -> Iterator[str]:
    """Yields the table of the prediction sets: what is promised for each class, and what was measured."""
    if sets is None:
        return
    used = sets.leaked_images_used
    leaked = " Leaked images were used too, as there were too few others: it is optimistic." if used else ""
    splits = {split: found for split, of in metrics.items() if (found := (of.get("decisions") or {}).get("coverage"))}
    yield (
        f"**Prediction sets** are fitted for a coverage of {exactly(sets.coverage, form='%')}: of the images of each "
        "class, at least this share should have their class in the set, if they come from where the validation images "
        f"come from. n images of a class can promise n / (n + 1) at most; a "
        f"class with too few shares the threshold of all images, and nothing is promised for it.{leaked}"
    )
    yield ""
    yield from table(
        ["class", "fitted on", "promised coverage", *(f"on the {_TITLES.get(name, name)} images" for name in splits)],
        [
            [
                name,
                counted(sets.images[name], "image"),
                "none: too few images" if name in sets.short_of_images else cautious(sets.covered(name)),
                *(_covered(of.get(name)) for of in splits.values()),
            ]
            for name in classes
        ],
    )
    yield ""


def _novelty(novelty: Novelty | None) -> Iterator[str]:
    if novelty is None:
        return
    share, images = exactly(novelty.quantile, form="%"), novelty.images
    promise = f"so that on average {share} of other images like them are not flagged"
    if (needed := images_to_promise(novelty.quantile)) is None or images < needed:
        promise = f"too few to promise that {share} of other images are not flagged"
    leaked = f" {NOVELTY_OF_LEAKED[0].upper()}{NOVELTY_OF_LEAKED[1:]}." if novelty.leaked_images_used else ""
    yield (
        f"**Novelty**, the distance from {counted(novelty.training_images, 'training image')}, is flagged above "
        f"{novelty.threshold:.6g}. This threshold was fitted on {counted(images, 'validation image')}, {promise}. An "
        f"image that is not flagged can be a wrong one.{leaked}"
    )
    yield ""


def _patients(spec: ModelSpec) -> Iterator[str]:
    """Yields the rule for patients and their metrics from the training; nothing without a rule."""
    rule = spec.patient_rule
    if rule is None:
        return
    yield "## Patients"
    yield ""
    yield (
        f"A patient's score is that of {rule.title}; from {rule.operating_point.threshold:.6f} on the patient is "
        "suspicious. The decision is `refer` if the patient's prediction set has classes of both kinds, or only of the "
        "other kind, or if more than half of these slices are unlike the training images or gave a warning."
        + ("" if rule.prediction_sets else " There were too few patients for prediction sets.")
    )
    yield ""
    found = {split: of["patients"] for split, of in spec.metrics.items() if of.get("patients")}
    rows = []
    for split, of in found.items():
        called, decided = of.get("suspicious") or {}, of.get("decisions") or {}
        rows.append(
            [
                _TITLES.get(split, split),
                str(of["count"]),
                _interval_of(of.get("auroc") or {}),
                *(f"{_share(called, name)} of {called.get(f'{name}_patients', 0)}" for name in _SHARES),
                f"{decided.get('referred', 0)}: {_share(decided, 'referred_share', up=True)}",
                *(f"{_share(decided, name)} of {decided.get(f'{name}_patients', 0)}" for name in _SHARES),
            ]
        )
    heads = [
        "patients",
        "number",
        "AUROC of the score",
        *_SHARES,
        "referred",
        *(f"{name}, decided" for name in _SHARES),
    ]
    yield from table(heads, rows)
    yield ""
    yield "The validation patients chose and fitted this rule: metrics on them are optimistic."
    yield ""


def _interval_of(found: Mapping[str, Any]) -> str:
    return cautious(found.get("value"), found.get("interval"))


def _exported(precisions: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> Iterator[str]:
    """Yields the decisions on test images that differ from FP32's, and the coverage of each class."""
    compared = {name: found for name, of in precisions.items() if (found := of.get("decisions_on_test"))}
    if not compared:
        return
    (first, *_) = compared.values()
    yield (
        f"**Decisions of the exported files**, on {counted(first['images'], 'test image')} without a copy among those "
        "that the network was trained on or that fitted a threshold, and on which no file was selected:"
    )
    yield ""
    for name, found in compared.items():
        yield (
            f"- {name.upper()} decides otherwise than FP32: {_share(found, 'changed_share', up=True)}. "
            f"{found['opposite']} the opposite, {found['newly_referred']} newly referred, "
            f"{found['newly_decided']} no longer referred."
        )
    yield ""
    if "coverage" in first:
        coverage = {"FP32": first["reference_coverage"]}
        coverage |= {name.upper(): found["coverage"] for name, found in compared.items()}
        yield from table(
            ["class in the prediction set", "images", "promised", *coverage],
            [
                [
                    name,
                    str(coverage["FP32"][name]["images"]),
                    cautious(coverage["FP32"][name]["promised"]),
                    *(_share(of[name], "share") for of in coverage.values()),
                ]
                for name in classes
            ],
        )
        yield ""


def _share(values: Mapping[str, Any], name: str, *, up: bool = False) -> str:
    return cautious(values.get(name), values.get(f"{name}_interval"), up=up)


def _covered(found: Mapping[str, Any] | None) -> str:
    return "-" if found is None else f"{_share(found, 'share')} of {found['images']}"


def _listed(names: list[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[:-1] else []), names[-1]])


def _alternatives(names: list[str]) -> str:
    return "; or ".join(names) if len(names) > 1 else names[0]
