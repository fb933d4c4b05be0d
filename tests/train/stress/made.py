"""A model made of a function, and the document of a stress test, for the tests of the stress test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.novelty import PERCENTILES, Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.images import Preprocessing
from ctonnx.parity.intervals import share_interval
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, Predicted

CLASSES = ("normal", "tumor", "large cell")
POINT = OperatingPoint(positive=("tumor", "large cell"), threshold=0.5, sensitivity=0.9, specificity=0.9)
SETS = PredictionSets(coverage=0.9, lowest=dict.fromkeys(CLASSES, 0.28), images=dict.fromkeys(CLASSES, 40))
NOVELTY = Novelty(
    threshold=100.0,
    quantile=0.95,
    quantiles=tuple(float(percent) for percent in range(PERCENTILES)),
    images=100,
    training_images=300,
    components=64,
)


def by_brightness(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], None]:
    """Calls bright images a tumor, and others normal: probabilities [images, 3]."""
    brightness = pixels.mean((1, 2, 3)) / 255
    return np.stack([1 - brightness, 0.9 * brightness, 0.1 * brightness], axis=1), None


def evaluated_model(
    predict_pixels: Callable[..., Any] = by_brightness,
    *,
    operating_point: OperatingPoint | None = POINT,
    prediction_sets: PredictionSets | None = None,
    novelty_threshold: Novelty | None = None,
    size: int = 32,
) -> EvaluatedModel:
    """Returns a model whose probabilities and novelty are those of a function of the pixels."""
    return EvaluatedModel(
        path=Path("made.onnx"),
        name="made",
        kind="ONNX fp32",
        classes=CLASSES,
        preprocessing=Preprocessing(size=size),
        operating_point=operating_point,
        synthetic=False,
        data={},
        predict=lambda store, rows: Predicted(*predict_pixels(store.take(rows))),
        checkpoint_sha256="ab" * 32,
        prediction_sets=prediction_sets,
        novelty=novelty_threshold,
    )


def changed(count: int, images: int = 100) -> dict[str, Any]:
    """Returns the share of a number of images; None of none."""
    share = count / images if images else None
    interval = None if share is None else list(share_interval(share, images))
    return {"count": count, "images": images, "share": share, "interval": interval}


def strength(
    shown: str, flipped: int, referred: int = 0, images: int = 100, decided: int | None = None
) -> dict[str, Any]:
    """Returns one strength of a change, as in a stress test's document; all images are decided before, or a number."""
    decided = images if decided is None else decided
    kinds = {
        "decision_changed": changed(flipped + referred, decided),
        "flipped": changed(flipped, decided) | {"to_negative": flipped},
        "newly_referred": changed(referred, decided),
        "newly_decided": changed(0, images - decided),
        "class_changed": changed(flipped, images),
    }
    return {
        "strength": 1.0,
        "shown": shown,
        "images": images,
        **kinds,
        "by_class": {"normal": {"images": images, **kinds}},
    }


def document(*transforms: tuple[str, list[dict[str, Any]]], referred: int = 0) -> dict[str, Any]:
    """Returns the document of a stress test of 100 images with the given changes; a number of them is referred."""
    default = (
        ("lower contrast", [strength("x 0.8", 0), strength("x 0.6", 5), strength("x 0.4", 40, 7)]),
        ("JPEG", [strength("quality 75", 1), strength("quality 50", 6, 2), strength("quality 25", 30)]),
        ("padded", [strength("square + 0%", 9), strength("square + 10%", 1), strength("square + 25%", 20)]),
        ("inverted", [strength("black to white", 100)]),
    )
    return {
        "schema_version": 1,
        "checkpoint_sha256": "ab" * 32,
        "model": {
            "file": "model.safetensors",
            "kind": "PyTorch checkpoint",
            "precision": "fp32",
            "sha256": "ab" * 32,
        },
        "data": {"name": "scans", "fingerprint": "cd" * 32},
        "split": "test",
        "images": 100,
        "decided_by": {"operating_point": True, "prediction_sets": False, "novelty": False},
        "decisions": {"positive": 60 - min(60, referred), "negative": 40 - max(0, referred - 60), "refer": referred},
        "transforms": [
            {
                "name": title.lower().replace(" ", "_"),
                "title": title,
                "judged_by": "flipped" if title == "inverted" else "decision_changed",
                "strengths": strengths,
            }
            for title, strengths in transforms or default
        ],
    }
