"""`evaluate_external`: an exported model on data with other classes, by the one question that both share."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.artifacts.caveats import missing_checks
from ctonnx.artifacts.decision.operating_point import suspicion
from ctonnx.artifacts.decision.rule import decide_all
from ctonnx.artifacts.spec import ModelSpec, fitted_on
from ctonnx.errors import DataError, ModelError
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.system.text import Log, counted, quoted
from ctonnx_train.data.leakage import group_names, group_numbers
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, open_evaluated_model
from ctonnx_train.evaluation.external.outputs import predict_rows
from ctonnx_train.evaluation.external.question import choose_question, read_any_classes
from ctonnx_train.evaluation.external.shares import Share, share_of
from ctonnx_train.evaluation.external.shift import describe_shift
from ctonnx_train.evaluation.external.verdict import judge_point
from ctonnx_train.evaluation.metrics import REPLICATES, evaluate

__all__ = ["SCHEMA_VERSION", "ExternalSplit", "evaluate_external"]

SCHEMA_VERSION = 1
"""Version of the JSON document."""

ExternalSplit: TypeAlias = Literal["train", "valid", "test", "all"]

_KEPT_BYTES = 8_000_000_000


def evaluate_external(
    model: Path,
    data: Path,
    *,
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    split: ExternalSplit = "all",
    class_names: Mapping[str, str] | None = None,
    group_regex: str | None = None,
    drop_leaks: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
    threads: int | None = None,
    log: Log = lambda line: None,
) -> dict[str, Any]:
    """Evaluates an exported model on data whose classes are others, such as `benign` and `malignant`.

    Both share one question: is the scan suspicious? The model has its operating point and its decision, the data the
    side of each class.

    Args:
        model: Exported `.onnx` file with an operating point.
        data: Dataset; see `ctonnx_train.data.image_folder.read_data`. One class is enough.
        positive: Positive classes of the data; see `question.choose_question`.
        negative: Negative classes of the data.
        split: Split to evaluate; `all` takes all images.
        class_names: Canonical names for class folders, by the folder's name.
        group_regex: Regular expression for the groups of scans that the bootstrap resamples as a whole.
        drop_leaks: Whether to leave out scans that the model was trained on.
        replicates: Number of bootstrap resamples, for the interval of the AUROC.
        seed: Random seed of the bootstrap.
        threads: Number of threads; None uses all available cores.
        log: Called with each progress message.

    Returns:
        A JSON-ready document with `verdict`, `model`, `data`, `auroc`, `sensitivity`, `specificity`, `decisions`,
        `missed`, `shift` and `caveats`. A metric that cannot be computed is None, with 0 images.

    Raises:
        DataError: If the data cannot be read, or no scan is left.
        ModelError: If the model is missing or damaged, or has no operating point.
    """
    known = open_evaluated_model(model, threads=threads)
    if known.operating_point is None:
        raise ModelError(
            f"expected a model with an operating point for --external, found none in '{model}'; fit one on labelled "
            "scans with its classes: ctonnx recalibrate"
        )
    found = read_any_classes(data, class_names)
    for note in found.notes:
        log(note)
    question = choose_question(found, positive, negative)
    chosen = found.samples if split == "all" else found.splits[split]
    samples = [sample for sample in chosen if found.classes[sample.label] not in question.left_out]
    if not samples:
        if not found.samples:
            raise DataError(
                f"expected images in class folders in '{data}', found none; lay them out as DATA/malignant/*.png, even "
                "if all are of one class"
            )
        there = quoted(name for name, images in found.splits.items() if images)
        raise DataError(f"expected images of the split '{split}' in '{data}', found those of {there}; choose another")
    log(question.sentence)
    source = open_source(found.root)
    with tqdm(total=len(samples), desc="reading images", unit="image", leave=False, disable=None) as bar:
        store = PixelStore(source, samples, known.preprocessing, limit=_KEPT_BYTES, progress=bar.update)
    rows, seen = _without_leaks(samples, store, known, drop_leaks, log)
    kept = [samples[row] for row in rows]
    with Predictor(model, threads=threads, spinning=False) as predictor:
        spec = predictor.spec
        log(f"{known.kind} '{spec.name}' on {counted(len(rows), 'image')} ({split}) of {data}")
        outputs = predict_rows(predictor, store, rows)
    names = [found.classes[sample.label] for sample in kept]
    is_positive = np.isin(names, question.positive)
    groups = None
    if group_regex is not None:
        numbers = group_numbers(kept, store.digests, group_names(kept, group_regex))
        groups = [numbers[sample.path] for sample in kept]
    bootstrap: dict[str, Any] = {"groups": groups, "replicates": replicates, "seed": seed}
    document = {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": spec.name,
            "kind": known.kind,
            "path": str(model),
            "classes": list(spec.classes),
            "synthetic": spec.synthetic,
            "fitted_on": fitted_on(spec.history),
        },
        "data": {
            "path": str(data),
            "split": split,
            "images": len(rows),
            "classes": dict(sorted(Counter(names).items())),
            **{name: list(value) for name, value in asdict(question).items()},
            "seen_in_training": seen,
        },
        **_metrics(spec, outputs, is_positive, bootstrap),
        "shift": describe_shift(spec, source, kept, outputs, is_positive),
    }
    return {**document, "caveats": _caveats(document, spec)}


def _without_leaks(
    samples: Sequence[Sample], store: PixelStore, model: EvaluatedModel, drop_leaks: bool, log: Log
) -> tuple[list[int], dict[str, int | None]]:
    """Returns the rows to evaluate, and the numbers of scans that the model was trained on, and of those left out."""
    trained_on = model.trained_on
    if trained_on is None:
        if drop_leaks:
            raise DataError(
                f"expected to know which images '{model.path}' was trained on, for --drop-leaks, found no run with "
                "their digests next to it; leave out --drop-leaks"
            )
        return list(range(len(samples))), {"trained_on": None, "dropped": 0}
    known = [store.digests[sample.path] in trained_on for sample in samples]
    if not drop_leaks:
        if count := sum(known):
            log(f"warning: the model was trained on {count} of the {counted(len(samples), 'image')}")
        return list(range(len(samples))), {"trained_on": sum(known), "dropped": 0}
    rows = [row for row, is_known in enumerate(known) if not is_known]
    if not rows:
        raise DataError(f"expected images that '{model.path}' was not trained on, found none")
    return rows, {"trained_on": 0, "dropped": sum(known)}


def _metrics(
    spec: ModelSpec, outputs: Outputs, is_positive: NDArray[np.bool_], bootstrap: Mapping[str, Any]
) -> dict[str, Any]:
    point = spec.operating_point
    assert point is not None  # noqa: S101  # `evaluate_external` checked it
    score = suspicion(outputs.probabilities, spec.classes, point.positive)
    called = score >= point.threshold
    found = decide_all(
        outputs.probabilities,
        spec.classes,
        point,
        sets=spec.prediction_sets,
        limit=spec.novelty,
        novelty=outputs.novelty,
    )
    decisions = np.array([decision.name for decision in found], np.str_)
    sensitivity, specificity = share_of(called[is_positive]), share_of(~called[~is_positive])
    return {
        "verdict": asdict(judge_point(point, sensitivity, specificity)),
        "auroc": _auroc(score, is_positive, bootstrap),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "target_sensitivity": point.target_sensitivity,
        "positive_classes": list(point.positive),
        "decisions": {
            side: {name: share_of(of_side == name) for name in ("positive", "negative", "refer")}
            for side, of_side in (("positive", decisions[is_positive]), ("negative", decisions[~is_positive]))
        },
        "referred": share_of(decisions == "refer"),
        "missed": share_of(decisions[is_positive] == "negative"),
    }


def _auroc(score: NDArray[np.float64], is_positive: NDArray[np.bool_], bootstrap: Mapping[str, Any]) -> Share:
    if is_positive.all() or not is_positive.any():
        return {"value": None, "interval": None, "images": 0}
    sides = evaluate(np.stack([1 - score, score], axis=1), is_positive.astype(int).tolist(), ("-", "+"), **bootstrap)
    interval = sides.get("intervals", {}).get("per_class", {}).get("+", {}).get("auroc")
    return {"value": sides["per_class"]["+"]["auroc"], "interval": interval, "images": len(score)}


def _caveats(document: Mapping[str, Any], spec: ModelSpec) -> list[str]:
    data, found = document["data"], []
    if not data["positive"]:
        found.append("there are no positive scans: AUROC, sensitivity and missed cannot be computed")
    if not data["negative"]:
        found.append("there are no negative scans: AUROC and specificity cannot be computed")
    if missing := missing_checks(spec):
        found.append(missing)
    if data["seen_in_training"]["trained_on"] is None:
        found.append("whether the model was trained on some of these scans is unknown: its run is not next to it")
    elif data["seen_in_training"]["trained_on"]:
        found.append("the model was trained on some of these scans: the metrics are optimistic")
    return found
