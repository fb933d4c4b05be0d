"""Metrics of patients, as a JSON-ready dictionary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.operating_point import suspicion
from ctonnx.artifacts.decision.patient_rule import Aggregate, PatientRule
from ctonnx.errors import DataError
from ctonnx_train.data.leakage import Digests
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.threshold import positive_classes, suspicious_metrics
from ctonnx_train.evaluation.patients.aggregation import TOP_K, Aggregation, aggregate
from ctonnx_train.evaluation.patients.slices import ChosenSlices, choose_slices
from ctonnx_train.evaluation.patients.subgroups import subgroup_metrics, values_of_patients
from ctonnx_train.evaluation.statistics.metrics import REPLICATES, evaluate

__all__ = ["ChosenRule", "PatientSlices", "find_rule", "patient_metrics", "rule_of"]

_SCORE = ("others", "suspicious")


@dataclass(frozen=True, kw_only=True)
class PatientSlices:
    """Evaluated slices of patients.

    Attributes:
        patients: Patients of the dataset.
        samples: The slices.
        groups: Number of each slice's group, from `ctonnx_train.data.leakage.group_numbers`: patients, and those who
            share copies of a slice, together.
        is_novel: Flags of slices unlike the training images; None if the model has no novelty.
        has_caution: Flags of slices with a warning.
        digests: Digest of the pixels of each slice, by path, to find copies; None if unknown.
        names: Patient of each slice.
        chosen: Slices that the scores come from.
    """

    patients: Patients
    samples: Sequence[Sample]
    groups: Sequence[int]
    is_novel: NDArray[np.bool_] | None = None
    has_caution: NDArray[np.bool_] | None = None
    digests: Digests | None = None
    names: Sequence[str] = field(init=False)
    chosen: ChosenSlices = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", self.patients.of(self.samples))
        object.__setattr__(self, "chosen", choose_slices(self.patients, self.samples, self.digests))

    @property
    def unit(self) -> str:
        """Name of a group for a report: `patient`, unless some share copies of a slice."""
        return "patient" if len(set(self.groups)) == len(set(self.names)) else "group of patients"


class ChosenRule(NamedTuple):
    """The aggregate and the rule for the patients of an evaluation.

    Attributes:
        how: Slices that carry a patient's score; None if this is not known: then there are no metrics per patient.
        rule: Rule for patients with this aggregate; None if there is none: then nothing is decided.
        positive: Names of the suspicious classes.
    """

    how: Aggregation | None = None
    rule: PatientRule | None = None
    positive: tuple[str, ...] = ()


def find_rule(
    model: EvaluatedModel, chosen: Aggregate | None = None, k: int | None = None, *, has_patients: bool = True
) -> ChosenRule:
    """Returns the rule for the patients of an evaluation: that of the model, or a chosen aggregate alone.

    The threshold of the model's rule is used only with the rule's own aggregate.

    Raises:
        DataError: If an aggregate was chosen, and the patients or the suspicious classes that it needs are unknown.
    """
    known = model.patient_rule if has_patients else None
    positive = model.operating_point.positive if model.operating_point else positive_classes(model.classes)
    if chosen is None:
        return ChosenRule() if known is None else rule_of(known)
    how = Aggregation(chosen, (k or TOP_K) if chosen == "top-k" else None)
    if not has_patients:
        raise DataError(
            f"expected the patients of the images for --aggregate {chosen}, found none; name them: --labels or "
            "--group-regex"
        )
    if not positive and chosen != "mean":
        raise DataError(f"expected suspicious classes for --aggregate {chosen}, found none; use --aggregate mean")
    if known and (known.aggregate, known.k) == how:
        return ChosenRule(how, known, known.operating_point.positive)
    return ChosenRule(how, None, positive)


def rule_of(rule: PatientRule) -> ChosenRule:
    """Returns a rule for patients with its own aggregate."""
    return ChosenRule(Aggregation(rule.aggregate, rule.k), rule, rule.operating_point.positive)


def patient_metrics(
    slices: PatientSlices,
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    chosen: ChosenRule,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the metrics of patients as a JSON-ready dictionary.

    Args:
        slices: The slices and their patients.
        probabilities: Probabilities of the slices, [slices, classes].
        labels: Class index of each slice.
        classes: Class names.
        chosen: Aggregate and rule for the patients.
        replicates: Number of bootstrap resamples of the patients.
        seed: Random seed of the bootstrap and of the permutations.

    Returns:
        `count` (of patients), `images`, `origin`, `left_out` (from `ChosenSlices.as_dict`, if anything is) and `rule`;
        this is None, and there is no more, if no aggregate is known. Else `rule` has `aggregate`, `k`, `threshold` and
        `patients` (number of those that it was fitted on), and there are `metrics` (as of images, from
        `ctonnx_train.evaluation.statistics.metrics.evaluate`), `auroc` (of the score; None without suspicious
        classes), `suspicious` and `decisions` (as of images; None without a rule), and `subgroups` from
        `ctonnx_train.evaluation.patients.subgroups.subgroup_metrics`. Names with `images` have `patients` instead.
    """
    how, rule, positive = chosen
    left_out = slices.chosen.as_dict()
    known = {
        "count": len(set(slices.names)) - slices.chosen.patients,
        "images": len(slices.samples),
        "origin": slices.patients.origin,
        **({"left_out": left_out} if left_out else {}),
    }
    if how is None:
        return {**known, "rule": None}
    found = aggregate(probabilities, labels, slices.names, classes, positive, how, slices.chosen)
    groups = found.first_of(slices.groups).tolist()
    sampling: dict[str, Any] = {"groups": groups, "unit": slices.unit, "replicates": replicates, "seed": seed}
    units = groups if len(set(groups)) < len(groups) else None
    point = rule.operating_point if rule else None
    kinds = {"is_novel": slices.is_novel, "has_caution": slices.has_caution}
    flags = {name: kind for name, kind in kinds.items() if kind is not None}
    is_partial = found.any_of(slices.chosen.has_other_study)
    decisions = decision_metrics(
        found.probabilities,
        found.labels,
        classes,
        point=point,
        sets=rule.prediction_sets if rule else None,
        is_partial=is_partial if is_partial.any() else None,
        groups=units,
        **(dict(zip(flags, found.refer(*flags.values()), strict=True)) if flags else {}),
    )
    of_patients = {
        "metrics": evaluate(found.probabilities, found.labels.tolist(), classes, **sampling),
        "suspicious": suspicious_metrics(point, found.probabilities, found.labels, classes, units),
        "decisions": decisions,
    }
    values = {
        name: values_of_patients(found.used, [of.get(sample.path) for sample in slices.samples])
        for name, of in slices.patients.subgroups.items()
    }
    return {
        **known,
        "rule": {
            "aggregate": how.aggregate,
            "k": how.k,
            "threshold": point.threshold if point else None,
            "patients": rule.patients if rule else None,
        },
        "auroc": _score_area(found.probabilities, found.labels, classes, positive, sampling),
        **{name: _named(part) for name, part in of_patients.items()},
        "subgroups": subgroup_metrics(
            values, found.probabilities, found.labels, classes, point, groups=units, seed=seed
        ),
    }


def _score_area(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    positive: Sequence[str],
    sampling: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Returns the AUROC of the patients' score with its interval; None without suspicious classes."""
    if not positive:
        return None
    scores = suspicion(probabilities, classes, positive)
    is_positive = np.isin(labels, [classes.index(name) for name in positive]).astype(int)
    found = evaluate(np.stack([1 - scores, scores], axis=1), is_positive.tolist(), _SCORE, **sampling)
    interval = found.get("intervals", {}).get("per_class", {}).get(_SCORE[1], {}).get("auroc")
    return {"value": found["per_class"][_SCORE[1]]["auroc"], "interval": interval}


def _named(part: Any, *, by_class: bool = False) -> Any:
    """Returns metrics with `patients` instead of `images` in the names; with `by_class`, those are of classes."""
    if not isinstance(part, Mapping):
        return part
    return {
        name if by_class else name.replace("images", "patients"): _named(
            value, by_class=not by_class and name in ("per_class", "coverage")
        )
        for name, value in part.items()
    }
