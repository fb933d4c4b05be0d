"""The record of a run: calibration on the validation set, metrics of the evaluated splits, and run.json."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.usage import UsageReference
from ctonnx.system.packages import versions_of
from ctonnx.system.text import Log
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.fitting import calibration, threshold
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.prediction_sets import fit_prediction_sets
from ctonnx_train.evaluation.fitting.usage import one_of_each, usage_of
from ctonnx_train.evaluation.patients.aggregation import slice_weights
from ctonnx_train.evaluation.patients.fitting import FittedPatients, fit_patient_rule
from ctonnx_train.evaluation.patients.metrics import ChosenRule, PatientSlices, patient_metrics
from ctonnx_train.evaluation.patients.slices import left_out_in_words
from ctonnx_train.evaluation.statistics.metrics import evaluate
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.inference import predict_logits
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.training.loop.fit import Fitted
from ctonnx_train.training.preparation import Prepared
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.results.novelty import FittedNovelty
from ctonnx_train.training.results.out_of_fold import OutOfFold
from ctonnx_train.training.resume import RunPlan

__all__ = ["Calibrated", "calibrate", "make_record"]

_LIBRARIES = ("ctonnx", "torch", "torchvision", "lightning", "sklearn", "numpy", "PIL")
_EVALUATED: tuple[Split, ...] = ("valid", "test")


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A trained network's temperature, operating point and prediction sets, if defined, and calibrated probabilities.

    `patients` has the rule for patients, if they are known. The probabilities are those of `valid` and, if it has
    images, `test`, [images, classes].
    """

    temperature: float
    point: OperatingPoint | None
    sets: PredictionSets | None
    probabilities: Mapping[Split, NDArray[np.float64]]
    patients: FittedPatients | None = None


def calibrate(
    network: CTClassifier,
    fitted: Fitted,
    prepared: Prepared,
    settings: TrainSettings,
    log: Log,
    *,
    out_of_fold: OutOfFold | None = None,
) -> Calibrated:
    """Predicts the validation and test images; on the former, fits temperature, operating point and prediction sets.

    Where the patients are known, each counts once in the temperature and in the prediction sets, and a rule for
    patients is fitted, too. With `out_of_fold`, its predictions of the validation images are used.
    """
    logits = {
        split: predict_logits(network, prepared.store, prepared.rows[split], device=fitted.device)
        for split in _EVALUATED
        if prepared.rows[split] and not (split == "valid" and out_of_fold)
    }
    if out_of_fold:
        logits = {"valid": out_of_fold.logits, **logits}
    data, labels = prepared.data, np.array(prepared.labels("valid"))
    slices = _slices("valid", prepared)
    groups = slices.groups if slices else None
    leaked = np.array([sample in prepared.leaked_valid for sample in data.splits["valid"]])
    positive = threshold.positive_classes(data.classes, settings.positive)
    is_positive = np.isin(labels, [data.classes.index(name) for name in positive])
    kinds = is_positive if positive else labels
    used = threshold.without_leaks(kinds, leaked, least=calibration.LEAST_WITHOUT_LEAKS)
    weights = (
        slice_weights([name for name, is_used in zip(slices.names, used, strict=True) if is_used]) if slices else None
    )
    temperature = calibration.fit_temperature(logits["valid"][used], labels[used], weights)
    probabilities = {
        split: softmax(values.astype(np.float64) / temperature, axis=1) for split, values in logits.items()
    }
    point = threshold.fit_operating_point(
        probabilities["valid"],
        labels,
        data.classes,
        positive,
        sensitivity=settings.sensitivity,
        leaked=leaked,
        groups=groups,
    )
    sets = fit_prediction_sets(
        probabilities["valid"], labels, data.classes, settings.coverage, positive=positive, leaked=leaked, groups=groups
    )
    patients = None
    if slices:
        patients = fit_patient_rule(
            probabilities["valid"],
            labels,
            slices.names,
            data.classes,
            positive,
            choice=settings.aggregate,
            k=settings.top_k,
            sensitivity=settings.sensitivity,
            coverage=settings.coverage,
            leaked=leaked,
            chosen=slices.chosen,
            groups=slices.groups,
        )
    before, after = (
        calibration.negative_log_likelihood(logits["valid"][used], labels[used], value, weights)
        for value in (1.0, temperature)
    )
    honest, why = "validation images", ""
    if not used.all():
        honest = f"{used.sum()} validation images that did not leak"
    elif leaked.any():
        honest = f"{len(used)} validation images"
        least = calibration.LEAST_WITHOUT_LEAKS
        why = f"; {leaked.sum()} of them leaked, as fewer than {least} of a kind did not: optimistic"
    each = ", each patient counting once," if slices else ""
    log(
        f"temperature {temperature:.3f}: negative log-likelihood on the {honest}{each} {before:.4f} -> {after:.4f}{why}"
    )
    if point is None:
        log("no operating point for 'suspicious': it needs images of suspicious classes and of others (--positive)")
    if sets is None:
        missing = ", ".join(name for index, name in enumerate(data.classes) if not (labels == index).any())
        log(f"no prediction sets: they need validation images of every class, found none of {missing}")
    if slices and patients:
        if words := left_out_in_words(slices.chosen.as_dict()):
            log(f"validation patients: {words}")
        log(patients.sentence())
    return Calibrated(temperature=temperature, point=point, sets=sets, probabilities=probabilities, patients=patients)


def make_record(
    fitted: Fitted,
    calibrated: Calibrated,
    prepared: Prepared,
    plan: RunPlan,
    start: float,
    *,
    novelty: FittedNovelty | None = None,
    out_of_fold: OutOfFold | None = None,
) -> RunRecord:
    """Evaluates the predictions and returns the contents of run.json; `start` is from `time.perf_counter`."""
    data, settings = prepared.data, plan.settings
    metrics: dict[str, Any] = {
        split: _metrics(split, calibrated, novelty, prepared, settings.seed) for split in calibrated.probabilities
    }
    ensemble = None
    if out_of_fold and "test" in calibrated.probabilities:
        of_ensemble = _ensemble(calibrated, novelty, out_of_fold)
        ensemble = {"test": _metrics("test", *of_ensemble, prepared, settings.seed)}
    return RunRecord(
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        classes=data.classes,
        folder_classes=data.folder_classes,
        preprocessing=plan.preprocessing,
        data={
            "folder": str(data.root.resolve()),
            "name": plan.data_name,
            "fingerprint": prepared.fingerprint,
            "images": data.counts(),
            "leaks": asdict(prepared.leaks),
            **({"folds": len(out_of_fold.folds)} if out_of_fold else {}),
            "labels": None if plan.labels is None else plan.labels.name,
            "patients": _patients(prepared),
        },
        synthetic=data.synthetic,
        settings={**asdict(settings), "positive": list(settings.positive)},  # a list, as it is read from the file
        training={
            **_training(fitted, prepared, settings, time.perf_counter() - start),
            **({"folds": [dict(fold) for fold in out_of_fold.folds]} if out_of_fold else {}),
        },
        metrics=metrics,
        ensemble_metrics=ensemble,
        versions=versions_of(_LIBRARIES),
        temperature=calibrated.temperature,
        operating_point=calibrated.point,
        prediction_sets=calibrated.sets,
        patient_rule=calibrated.patients.rule if calibrated.patients else None,
        brightness=prepared.brightness,
        shortcuts=prepared.shortcuts,
        acquisition=prepared.acquisition,
        novelty=novelty.threshold if novelty else None,
        usage=_usage(calibrated, novelty, prepared, settings.seed),
    )


def _usage(
    calibrated: Calibrated, novelty: FittedNovelty | None, prepared: Prepared, seed: int
) -> UsageReference | None:
    """Returns the counts of the validation images without copies; one image of each patient, if these are known."""
    samples = prepared.data.splits["valid"]
    rows = one_of_each(prepared.group_numbers("valid") if prepared.patients else None, len(samples), seed)
    unique = {prepared.store.digests[samples[row].path]: row for row in reversed(rows)}
    return usage_of(
        sorted(unique.values()),
        calibrated.probabilities["valid"],
        prepared.data.classes,
        impressions=[prepared.store.impressions[sample.path] for sample in samples],
        point=calibrated.point,
        sets=calibrated.sets,
        limit=novelty.threshold if novelty else None,
        novelty=novelty.values["valid"] if novelty else None,
        brightness=prepared.brightness,
    )


def _ensemble(
    calibrated: Calibrated, novelty: FittedNovelty | None, out_of_fold: OutOfFold
) -> tuple[Calibrated, FittedNovelty | None]:
    """Returns the predictions of the test images, and their novelty, by the mean of the folds' networks."""
    probabilities = out_of_fold.ensemble_probabilities(calibrated.temperature)
    values = out_of_fold.ensemble_novelty()
    if novelty:
        flags = None if values is None else novelty.threshold.flags(values)
        novelty = None if flags is None else replace(novelty, flags={**novelty.flags, "test": flags})
    return replace(calibrated, probabilities={**calibrated.probabilities, "test": probabilities}), novelty


def _patients(prepared: Prepared) -> dict[str, Any] | None:
    """Returns the source of the patients and their number in each split; None if they are unknown."""
    if prepared.patients is None:
        return None
    numbers = {
        split: len({name for path, _ in samples if (name := prepared.patients.names.get(path))})
        for split, samples in prepared.data.splits.items()
    }
    return {"origin": prepared.patients.origin, "patients": numbers, "subgroups": sorted(prepared.patients.subgroups)}


def _slices(
    split: Split,
    prepared: Prepared,
    *,
    is_novel: NDArray[np.bool_] | None = None,
    has_caution: NDArray[np.bool_] | None = None,
) -> PatientSlices | None:
    """Returns the slices of a split with their patients; None if they are unknown."""
    groups = prepared.group_numbers(split)
    if prepared.patients is None or groups is None:
        return None
    return PatientSlices(
        patients=prepared.patients,
        samples=prepared.data.splits[split],
        groups=groups,
        is_novel=is_novel,
        has_caution=has_caution,
        digests=prepared.store.digests,
    )


def _metrics(
    split: Split, calibrated: Calibrated, novelty: FittedNovelty | None, prepared: Prepared, seed: int
) -> dict[str, Any]:
    probabilities, labels, classes = calibrated.probabilities[split], prepared.labels(split), prepared.data.classes
    point, sets, truth = calibrated.point, calibrated.sets, np.array(labels)
    samples, groups = prepared.data.splits[split], prepared.group_numbers(split)
    is_novel = novelty.flags[split] if novelty else None
    has_caution = np.array([caution is not None for caution in prepared.store.cautions(samples, prepared.brightness)])
    slices = _slices(split, prepared, is_novel=is_novel, has_caution=has_caution)
    unit = slices.unit if slices else "image"
    metrics = {
        **evaluate(probabilities, labels, classes, groups=groups, unit=unit, seed=seed),
        "suspicious": threshold.suspicious_metrics(point, probabilities, truth, classes, groups),
        "decisions": decision_metrics(
            probabilities,
            truth,
            classes,
            point=point,
            sets=sets,
            is_novel=is_novel,
            has_caution=has_caution,
            groups=groups,
        ),
    }
    if slices and calibrated.patients:
        chosen = ChosenRule(calibrated.patients.how, calibrated.patients.rule, point.positive if point else ())
        metrics["patients"] = patient_metrics(slices, probabilities, truth, classes, chosen, seed=seed)
    return metrics


def _training(fitted: Fitted, prepared: Prepared, settings: TrainSettings, seconds: float) -> dict[str, Any]:
    rows = fitted.history.rows
    epochs, steps = (sum(row[name] for row in rows) for name in ("seconds", "train_seconds"))
    return {
        "epochs": len(rows),
        "interrupted": fitted.interrupted,
        "best_epoch": fitted.best.epoch,
        "best_by": settings.monitor,
        "best_value": None if fitted.best.value is None else round(fitted.best.value, 6),
        "precision": fitted.precision,
        "device": fitted.device.type,
        "seconds": round(seconds, 1),
        "seconds_per_epoch": round(epochs / len(rows), 2),
        "data_share": round(sum(row["data_seconds"] for row in rows) / steps, 4) if steps else 0.0,
        "images_in_memory": prepared.store.kept,
    }
