"""The record of a run: calibration on the validation set, metrics of the evaluated splits, and run.json."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.system.packages import versions_of
from ctonnx.system.text import Log, counted
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.fitting import calibration, threshold
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.novelty import fit_distance, fit_threshold
from ctonnx_train.evaluation.fitting.prediction_sets import fit_prediction_sets
from ctonnx_train.evaluation.metrics import evaluate
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.inference import predict_features, predict_logits
from ctonnx_train.network.novelty import NoveltyDistance
from ctonnx_train.network.thumbnail import thumbnails
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.training.loop.fit import Fitted
from ctonnx_train.training.preparation import Prepared
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.resume import RunPlan

__all__ = ["Calibrated", "FittedNovelty", "calibrate", "fit_novelty", "make_record"]

_LIBRARIES = ("ctonnx", "torch", "torchvision", "lightning", "sklearn", "numpy", "PIL")
_EVALUATED: tuple[Split, ...] = ("valid", "test")
_BATCH = 32
_MOST_NOVELTY_IMAGES = 5000  # training images: more do not change the distance, and their features take memory


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A trained network's temperature, operating point and prediction sets, if defined, and calibrated probabilities.

    The probabilities are those of `valid` and, if it has images, `test`, [images, classes].
    """

    temperature: float
    point: OperatingPoint | None
    sets: PredictionSets | None
    probabilities: Mapping[Split, NDArray[np.float64]]


def calibrate(
    network: CTClassifier, fitted: Fitted, prepared: Prepared, settings: TrainSettings, log: Log
) -> Calibrated:
    """Predicts the validation and test images; on the former, fits temperature, operating point and prediction sets."""
    logits = {
        split: predict_logits(network, prepared.store, prepared.rows[split], device=fitted.device)
        for split in _EVALUATED
        if prepared.rows[split]
    }
    data, labels = prepared.data, np.array(prepared.labels("valid"))
    temperature = calibration.fit_temperature(logits["valid"], labels)
    probabilities = {
        split: softmax(values.astype(np.float64) / temperature, axis=1) for split, values in logits.items()
    }
    leaked = np.array([sample in prepared.leaked_valid for sample in data.splits["valid"]])
    point = threshold.fit_operating_point(
        probabilities["valid"],
        labels,
        data.classes,
        threshold.positive_classes(data.classes, settings.positive),
        sensitivity=settings.sensitivity,
        leaked=leaked,
    )
    sets = fit_prediction_sets(probabilities["valid"], labels, data.classes, settings.coverage, leaked=leaked)
    before, after = (
        calibration.negative_log_likelihood(logits["valid"], labels, value) for value in (1.0, temperature)
    )
    log(f"temperature {temperature:.3f}: negative log-likelihood on the validation images {before:.4f} -> {after:.4f}")
    if point is None:
        log("no operating point for 'suspicious': it needs images of suspicious classes and of others (--positive)")
    if sets is None:
        missing = ", ".join(name for index, name in enumerate(data.classes) if not (labels == index).any())
        log(f"no prediction sets: they need validation images of every class, found none of {missing}")
    return Calibrated(temperature=temperature, point=point, sets=sets, probabilities=probabilities)


@dataclass(frozen=True, kw_only=True)
class FittedNovelty:
    """The distance of an image from the training images, and its threshold."""

    distance: NoveltyDistance
    threshold: Novelty


def fit_novelty(
    network: CTClassifier, fitted: Fitted, prepared: Prepared, settings: TrainSettings, log: Log
) -> FittedNovelty | None:
    """Fits the distance on the training images, each once and not augmented, and the threshold on validation images.

    Validation images that leaked are left out of the threshold's. Returns None if the training images are too few.
    """
    data, digests = prepared.data, prepared.store.digests
    distinct = {digests[sample.path]: row for row, sample in enumerate(data.splits["train"])}
    chosen = np.array(sorted(distinct.values()))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), _MOST_NOVELTY_IMAGES)).astype(np.intp)]
    rows = [prepared.rows["train"][row] for row in chosen]
    features = predict_features(network, prepared.store, rows, device=fitted.device)
    cells = np.concatenate([thumbnails(prepared.store.take(few)) for few in _batches(rows)])
    arrays = fit_distance(features, cells, np.array(prepared.labels("train"))[chosen])
    if arrays is None:
        log("no novelty: it needs more training images, which differ")
        return None
    distance = NoveltyDistance(arrays)
    rows = list(prepared.rows["valid"])
    features = predict_features(network, prepared.store, rows, device=fitted.device)
    with torch.inference_mode():
        values = [
            distance(torch.from_numpy(features[place : place + _BATCH]), torch.from_numpy(prepared.store.take(few)))
            for place, few in zip(range(0, len(rows), _BATCH), _batches(rows), strict=True)
        ]
    found = fit_threshold(
        torch.cat(values).numpy(),
        np.array([sample in prepared.leaked_valid for sample in data.splits["valid"]]),
        quantile=settings.novelty_quantile,
        training_images=len(chosen),
        components=arrays["features.weight"].shape[1],
    )
    log(
        f"novelty: threshold {found.threshold:.4g} on {counted(found.images, 'validation image')}, distance from "
        f"{counted(len(chosen), 'training image')} in {counted(found.components, 'component')}"
    )
    return FittedNovelty(distance=distance, threshold=found)


def _batches(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def make_record(
    fitted: Fitted,
    calibrated: Calibrated,
    prepared: Prepared,
    plan: RunPlan,
    start: float,
    *,
    novelty: Novelty | None = None,
) -> RunRecord:
    """Evaluates the predictions and returns the contents of run.json; `start` is from `time.perf_counter`."""
    data, settings = prepared.data, plan.settings
    metrics: dict[str, Any] = {
        split: _metrics(split, calibrated, prepared, settings.seed) for split in calibrated.probabilities
    }
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
        },
        synthetic=data.synthetic,
        settings={**asdict(settings), "positive": list(settings.positive)},  # a list, as it is read from the file
        training=_training(fitted, prepared, settings, time.perf_counter() - start),
        metrics=metrics,
        versions=versions_of(_LIBRARIES),
        temperature=calibrated.temperature,
        operating_point=calibrated.point,
        prediction_sets=calibrated.sets,
        shortcuts=prepared.shortcuts,
        acquisition=prepared.acquisition,
        novelty=novelty,
    )


def _metrics(split: Split, calibrated: Calibrated, prepared: Prepared, seed: int) -> dict[str, Any]:
    probabilities, labels, classes = calibrated.probabilities[split], prepared.labels(split), prepared.data.classes
    point, sets, truth = calibrated.point, calibrated.sets, np.array(labels)
    return {
        **evaluate(probabilities, labels, classes, groups=prepared.group_numbers(split), seed=seed),
        "suspicious": threshold.suspicious_metrics(point, probabilities, truth, classes),
        "decisions": decision_metrics(probabilities, truth, classes, point=point, sets=sets),
    }


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
