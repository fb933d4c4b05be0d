"""Caveats: limits of a model's metrics that a reader must know, in sentences.

They are shown wherever the metrics are: at the end of a training, by `evaluate`, in the export's report and model card,
by `inspect`, and on the server's page.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import describe_basis, describe_reasons
from ctonnx.artifacts.decision.shortcuts import shortcut_caveats
from ctonnx.artifacts.json_schema import number_at, part_at
from ctonnx.artifacts.spec import VALIDATION_IMAGES, ModelSpec, fitted_on, patients_of
from ctonnx.parity.rounding import exactly, shown
from ctonnx.system.text import counted

__all__ = [
    "NOVELTY_OF_LEAKED",
    "caveats_of",
    "images_to_promise",
    "images_to_show",
    "missing_checks",
    "model_caveats",
    "novelty_caveats",
    "operating_point_caveats",
    "patient_rule_caveats",
    "prediction_set_caveats",
    "recalibration_caveats",
    "split_caveats",
]

NOVELTY_OF_LEAKED = (
    "the novelty threshold was also fitted on leaked images, as there were too few others: they are less novel than "
    "images that are new to the model, and it may flag too many of these"
)
"""Caveat of a novelty threshold that was fitted on leaked images."""

_CONFIDENCE = 0.95  # of the one-sided bounds
_MOST = 0.5  # share of the images that is referred, from which on a model decides too few
_LOW_AUROC = 0.8  # of the score of suspicious scans
_SPECIFICITY = 0.9  # specificity that the number of negative images should be able to show
_TITLES = {"train": "training", "valid": "validation", "test": "test", "all": "labelled"}


def images_to_show(share: float) -> int | None:
    """Returns the number of images, all correct, that show a share with 95 % confidence; None for a share of 1.

    It is the smallest n with 0.05^(1/n) of `share` or more, the one-sided Clopper-Pearson bound for n of n
    (https://doi.org/10.1093/biomet/26.4.404).

    >>> images_to_show(0.95), images_to_show(0.9), images_to_show(1.0)
    (59, 29, None)
    """
    if share >= 1:
        return None
    return max(1, math.ceil(math.log(1 - _CONFIDENCE) / math.log(share))) if share > 0 else 1


def images_to_promise(share: float) -> int | None:
    """Returns the number of images from which on a conformal quantile keeps a share; None for a share of 1.

    It is the smallest n with n / (n + 1) of `share` or more (Angelopoulos and Bates 2021,
    https://arxiv.org/abs/2107.07511).

    >>> images_to_promise(0.95), images_to_promise(0.9), images_to_promise(1.0)
    (19, 9, None)
    """
    return None if share >= 1 else math.ceil(round(share / (1 - share), 9))


def operating_point_caveats(point: OperatingPoint | None) -> list[str]:
    """Returns the caveats of an operating point, such as too few images or leaked images; an empty list for None."""
    return [] if point is None else [*_point_like_chance(point), *_of_point(point)]


def patient_rule_caveats(rule: PatientRule | None, images: str = VALIDATION_IMAGES) -> list[str]:
    """Returns the caveats of a rule for patients, such as too few of them; an empty list for None.

    `images` is the name of the images whose patients it was fitted on.
    """
    if rule is None:
        return []
    sets = [] if rule.prediction_sets is None else _of_sets(rule.prediction_sets, patients_of(images), of_patients=True)
    point = rule.operating_point
    return [*_point_like_chance(point, of_patients=True), *_of_point(point, of_patients=True), *sets]


def prediction_set_caveats(sets: PredictionSets | None, images: str = VALIDATION_IMAGES) -> list[str]:
    """Returns the caveats of prediction sets, such as too few images for their coverage; an empty list for None.

    `images` is the name of the images that they were fitted on.
    """
    return [] if sets is None else list(_of_sets(sets, images))


def novelty_caveats(novelty: Novelty | None, images: str = VALIDATION_IMAGES) -> list[str]:
    """Returns the caveats of a novelty threshold, such as too few images; an empty list for None.

    `images` is the name of the images that it was fitted on.
    """
    return [] if novelty is None else list(_of_novelty(novelty, images))


def split_caveats(
    metrics: Mapping[str, Any],
    suspicious: Mapping[str, Any] | None,
    split: str,
    decisions: Mapping[str, Any] | None = None,
    patients: Mapping[str, Any] | None = None,
) -> list[str]:
    """Returns the caveats of the metrics of one split, the most serious first.

    Args:
        metrics: Metrics with their intervals, as in run.json.
        suspicious: Results of the operating point on these images, with its target; None without an operating point.
        split: `train`, `valid`, `test` or `all`.
        decisions: Metrics of the decisions on these images, with the coverage of the prediction sets, if known.
        patients: Metrics of the patients of these images, with the same two parts, if known.
    """
    title = _TITLES.get(split, split)
    return [
        *_like_chance(metrics, title, observed=True),
        *_refers_most(decisions, f"{title} images"),
        *_refers_most(part_at(patients, "decisions"), f"{title} patients"),
        *_below_target(suspicious, f"{title} images"),
        *_below_target(part_at(patients, "suspicious"), f"{title} patients"),
        *_below_coverage(part_at(decisions, "coverage"), f"{title} images"),
        *_below_coverage(part_at(part_at(patients, "decisions"), "coverage"), f"{title} patients"),
        *_like_chance(metrics, title, observed=False),
    ]


def recalibration_caveats(after: Mapping[str, Any], scans: str) -> list[str]:
    """Returns the caveats of the measures after a recalibration, the most serious first.

    Args:
        after: Measures on held-out scans, with `auroc` and `referred`.
        scans: Name of the scans.
    """
    auroc, referred = (
        number_at(part_at(after, "auroc"), "value"),
        part_at(after, "referred"),
    )
    found = []
    if auroc is not None and auroc < _LOW_AUROC:
        found.append(
            f"on the {scans} the score barely separates suspicious ones from others (AUROC {auroc:.3f}): no threshold "
            "can make up for that; train on scans of this site"
        )
    shares = {"referred_share": referred.get("value"), "referred_share_interval": referred.get("interval")}
    return [*found, *_refers_most(shares, scans)]


def model_caveats(
    metrics: Mapping[str, Any],
    point: OperatingPoint | None,
    sets: PredictionSets | None = None,
    shortcuts: Mapping[str, Any] | None = None,
    novelty: Novelty | None = None,
    *,
    rule: PatientRule | None = None,
    images: str = VALIDATION_IMAGES,
) -> list[str]:
    """Returns the caveats of a model's metrics on the test, else the validation images, its data and its decisions.

    Args:
        metrics: Metrics of each split, as in run.json and in the spec.
        point: Operating point of the model.
        sets: Prediction sets of the model.
        shortcuts: Shortcuts in the training images, if they are known.
        novelty: Novelty threshold of the model.
        rule: Rule for patients of the model.
        images: Name of the images that the values of the decision were fitted on.
    """
    split = "test" if part_at(metrics, "test") else "valid"
    of_split = part_at(metrics, split)
    parts = (part_at(of_split, name) for name in ("decisions", "patients"))
    found = split_caveats(of_split, part_at(of_split, "suspicious"), split, *parts)
    chance = [] if point is None else list(_point_like_chance(point))
    return [
        *chance,
        *found,
        *shortcut_caveats(shortcuts),
        *([] if point is None else _of_point(point)),
        *prediction_set_caveats(sets, images),
        *novelty_caveats(novelty, images),
        *patient_rule_caveats(rule, images),
    ]


def caveats_of(spec: ModelSpec) -> list[str]:
    """Returns the `model_caveats` of an exported model, after those of its last recalibration."""
    images = fitted_on(spec.history)
    last = spec.history[-1] if spec.history else {}
    return [
        *recalibration_caveats(part_at(part_at(last, "cross_validated"), "after"), images),
        *model_caveats(
            spec.metrics,
            spec.operating_point,
            spec.prediction_sets,
            spec.shortcuts,
            spec.novelty,
            rule=spec.patient_rule,
            images=images,
        ),
    ]


def missing_checks(spec: ModelSpec) -> str | None:
    """Returns a sentence about the parts that a model's decisions lack, as in files of schema 1; None if it has all."""
    parts = {"prediction sets": spec.prediction_sets, "novelty": spec.novelty, "range of brightness": spec.brightness}
    missing = [name for name, part in parts.items() if part is None]
    if not missing:
        return None
    if spec.operating_point is None:
        return (
            f"this model has no operating point, no {' and no '.join(missing)}: it makes no decisions; train again, "
            "and export, to have them"
        )
    basis = describe_basis(sets=spec.prediction_sets is not None, novelty=spec.novelty is not None)
    dark = "" if spec.brightness else "; nothing warns of an image far darker or brighter than the training images"
    return f"the decisions of this model rest on {basis}{dark}; train again, and export, to change that"


def _point_like_chance(point: OperatingPoint, *, of_patients: bool = False) -> Iterator[str]:
    if point.sensitivity + point.specificity <= 1:
        unit, title = _unit_and_title(of_patients)
        yield f"on the {unit}s that it was fitted on, {title} is no better than chance: {point.metrics_text}"


def _unit_and_title(of_patients: bool) -> tuple[str, str]:
    return ("patient", "the operating point of patients") if of_patients else ("image", "the operating point")


def _of_point(point: OperatingPoint, *, of_patients: bool = False) -> Iterator[str]:
    """Yields the caveats of an operating point; `of_patients` is True for the one of a rule for patients."""
    unit, title = _unit_and_title(of_patients)
    target, bound = point.target_sensitivity, point.sensitivity_bound
    if target is not None and bound is not None and point.positive_images is not None and bound < target:
        needed = images_to_show(target)
        units = "" if of_patients or point.positive_patients is None else " patients"
        enough = "no number of images shows it" if needed is None else f"{needed} or more{units} can show it"
        patients = f" of {counted(point.positive_patients or 0, 'patient')}" if units else ""
        yield (
            f"{title} was fitted on {counted(point.positive_images, f'suspicious {unit}')}{patients}, too few to show "
            f"a sensitivity of {exactly(target)} ({enough}): the observed sensitivity reached it, the one-sided 95 % "
            f"lower bound is {_down(bound)}"
        )
    needed = images_to_show(_SPECIFICITY)
    units = "" if of_patients or point.negative_patients is None else " patients"
    negatives = point.negative_images if point.negative_patients is None else point.negative_patients
    if point.negative_images is not None and negatives is not None and needed is not None and negatives < needed:
        found = (
            f"{counted(point.negative_images, 'other patient')}"
            if of_patients
            else f"{counted(point.negative_images, 'image')} of other classes"
        )
        found += f" of {counted(negatives, 'patient')}" if units else ""
        if of_patients and negatives < point.negative_images:
            found += f" in {counted(negatives, 'group')} that share no slice"
        yield (
            f"{title} was fitted on {found}, too few to show a specificity of {_SPECIFICITY:g} ({needed} or "
            f"more{units} can show it)"
        )
    if point.leaked_images_used and of_patients:
        yield (
            f"{title} was also fitted on leaked patients, as there were too few others: "
            f"{counted(point.leaked_images, 'validation patient')} with an image, or a copy of one, in the training "
            "set; its metrics are optimistic"
        )
    elif point.leaked_images_used:
        yield (
            "the operating point was also fitted on leaked images, as there were too few others: "
            f"{counted(point.leaked_images, 'validation image')} with a copy, or an image of their group, in the "
            "training set; its metrics are optimistic"
        )


def _of_sets(sets: PredictionSets, images: str, *, of_patients: bool = False) -> Iterator[str]:
    """Yields the caveats of prediction sets; `of_patients` is True for those of a rule for patients.

    `images` is the name of the images, or of the patients, that they were fitted on.
    """
    title = "prediction sets of patients" if of_patients else "prediction sets"
    if short := sets.short_of_images:
        needed = images_to_promise(sets.coverage)
        enough = "no number promises it" if needed is None else f"{needed} or more of a class can promise it"
        few = ", ".join(f"'{name}' has {sets.independent[name]}" for name in short)
        units = images if of_patients or sets.patients is None else f"patients of the {images}"
        yield (
            f"too few {units} for {title} with a coverage of {exactly(sets.coverage)} ({enough}): {few}; how "
            "often the set has its class is not promised"
        )
    if sets.leaked_images_used:
        leaked = "patients" if of_patients else "images"
        yield (
            f"the {title} were also fitted on leaked {leaked}, as a class has no others: their coverage is optimistic"
        )


def _of_novelty(novelty: Novelty, images: str) -> Iterator[str]:
    needed = images_to_promise(novelty.quantile)
    if needed is None or novelty.independent < needed:
        units = "" if novelty.patients is None else " patients"
        enough = "no number promises it" if needed is None else f"{needed} or more{units} can promise it"
        of = f" of {counted(novelty.patients or 0, 'patient')}" if units else ""
        yield (
            f"the novelty threshold was fitted on {novelty.images} {images}{of}, too few to promise that the share "
            f"{exactly(novelty.quantile)} of further ones like them is not flagged ({enough}): it may flag more"
        )
    if novelty.leaked_images_used:
        yield NOVELTY_OF_LEAKED


def _refers_most(decisions: Mapping[str, Any] | None, images: str) -> Iterator[str]:
    share = number_at(decisions, "referred_share")
    if share is None or share < _MOST:
        return
    reasons = describe_reasons(part_at(decisions, "referred_by"))
    yield (
        f"the model refers {_against(_MOST, share, _interval(decisions, 'referred_share_interval'))} of the {images}"
        f"{f' ({reasons})' if reasons else ''}: a person must look at these, and its sensitivity and specificity among "
        "those decided do not hold for them"
    )


def _below_coverage(coverage: Mapping[str, Any], title: str) -> Iterator[str]:
    for name, found in coverage.items():
        value, promised, low_high = (
            number_at(found, "share"),
            number_at(found, "promised"),
            _interval(found, "share_interval"),
        )
        if value is None or promised is None or low_high is None or not low_high[1] < promised:
            continue
        yield (
            f"of the {title} of '{name}', {_against(promised, value, low_high)} have their class in the "
            f"prediction set: the whole interval lies below the coverage of {_down(promised)}"
        )


def _below_target(found: Mapping[str, Any] | None, title: str) -> Iterator[str]:
    value, target = number_at(found, "sensitivity"), number_at(found, "target_sensitivity")
    low_high = _interval(found, "sensitivity_interval")
    if value is None or target is None or low_high is None or not low_high[1] < target:
        return
    yield (
        f"on the {title} the operating point found {_against(target, value, low_high)} of the suspicious ones: "
        f"the whole interval lies below the target sensitivity of {exactly(target)}"
    )


def _like_chance(metrics: Mapping[str, Any], title: str, *, observed: bool) -> Iterator[str]:
    """Yields the metrics that are no better than chance, or those that are better but were not shown to be."""
    per_class = part_at(metrics, "per_class")
    images = {name: int(number_at(of, "images") or 0) for name, of in per_class.items()}
    present = [name for name, count in images.items() if count]
    if len(present) < 2:
        return
    largest = max(present, key=images.__getitem__)
    chance, share = 1 / len(present), images[largest] / sum(images.values())
    intervals = part_at(metrics, "intervals")
    for name, label, level, what in (
        ("balanced_accuracy", "balanced accuracy", chance, f"chance ({chance:.3f})"),
        ("accuracy", "accuracy", share, f"always naming the largest class, '{largest}' ({share:.3f})"),
    ):
        value, low_high = number_at(metrics, name), _interval(intervals, name)
        if value is None or (value if low_high is None else low_high[0]) > level or (value <= level) != observed:
            continue
        verdict = "is no better than" if value <= level else "is not shown to be better than"
        yield f"the {label} of {_against(level, value, low_high)} on the {title} images {verdict} {what}"


def _against(level: float, value: float, low_high: tuple[float, float] | None) -> str:
    """Returns a share with its interval, not rounded across the level that they are compared with."""
    first, *ends = (shown(number, level, digits=3, form="f") for number in (value, *(low_high or ())))
    return f"{first} [{', '.join(ends)}]" if ends else first


# A spec may come from an unknown source: values that are missing or not numbers give no caveat.


def _interval(values: Any, name: str) -> tuple[float, float] | None:
    pair = values.get(name) if isinstance(values, Mapping) else None
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    low, high = (number_at({"end": end}, "end") for end in pair)
    return None if low is None or high is None else (low, high)


def _down(share: float) -> str:
    """Returns a lower bound with three decimals, rounded down."""
    return f"{math.floor(share * 1000) / 1000:.3f}"
