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
from ctonnx.system.text import Log, counted, quoted
from ctonnx_train.audit.facts import image_facts
from ctonnx_train.data.layouts.patient_sources import find_patients
from ctonnx_train.data.leakage import extra_copies, group_numbers, labelled_fingerprint
from ctonnx_train.data.pixel_store import KEPT_BYTES, PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.evaluated_model import (
    open_evaluated_model,
    predict_rows,
    selection_caveats,
)
from ctonnx_train.evaluation.external.leaks import find_leaks, reasons_against
from ctonnx_train.evaluation.external.question import Question, choose_question, read_any_classes
from ctonnx_train.evaluation.external.shift import describe_shift
from ctonnx_train.evaluation.external.verdict import judge_point
from ctonnx_train.evaluation.statistics.metrics import REPLICATES, evaluate
from ctonnx_train.evaluation.statistics.shares import Share, exact_share_of

__all__ = ["SCHEMA_VERSION", "ExternalSplit", "evaluate_external"]

SCHEMA_VERSION = 1
"""Version of the JSON document."""

ExternalSplit: TypeAlias = Literal["train", "valid", "test", "all"]


def evaluate_external(
    model: Path,
    data: Path,
    *,
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    split: ExternalSplit = "all",
    labels: Path | None = None,
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
    side of each class. Each scan is decoded once, and counts once: further copies (identical pixels) are left out, and
    scans with a copy on the other side altogether.

    Args:
        model: Exported `.onnx` file with an operating point.
        data: Dataset; see `ctonnx_train.data.image_folder.read_data`. One class is enough.
        positive: Positive classes of the data; see `question.choose_question`.
        negative: Negative classes of the data.
        split: Split to evaluate; `all` takes all images.
        labels: Labels file of the images in `data`, if it has one.
        class_names: Canonical names for class folders, by the folder's name.
        group_regex: Regular expression for the patients of the scans, instead of those of DICOM headers: scans of one
            patient are not independent, and all intervals allow for that.
        drop_leaks: Whether to leave out scans that the model was trained on, and those of its training patients.
        replicates: Number of bootstrap resamples, for the interval of the AUROC.
        seed: Random seed of the bootstrap.
        threads: Number of threads; None uses all available cores.
        log: Called with each progress message.

    Returns:
        A JSON-ready document with `verdict`, `model`, `data`, `auroc`, `sensitivity`, `specificity`, `decisions`,
        `referred`, `referred_by` (numbers of scans for each kind of reason), `missed`, `shift` and `caveats`. A metric
        that cannot be computed is None, with 0 images.

    Raises:
        DataError: If the data cannot be read, or no scan is left.
        ModelError: If the model is missing or damaged, or has no operating point.
    """
    known = open_evaluated_model(model, threads=threads)
    predictor = known.predictor
    if predictor is None:
        raise ModelError(f"expected an exported .onnx file for --external, found the run '{model}'; export it first")
    with predictor:
        if known.operating_point is None:
            raise ModelError(
                f"expected a model with an operating point for --external, found none in '{model}'; fit one on "
                "labelled scans with its classes: ctonnx recalibrate"
            )
        found = read_any_classes(data, class_names, labels, known.pseudonyms())
        for note in found.notes:
            log(note)
        question = choose_question(found, positive, negative)
        chosen = found.samples if split == "all" else found.splits[split]
        samples = [sample for sample in chosen if found.classes[sample.label] not in question.left_out]
        if not samples:
            if not found.samples:
                raise DataError(
                    f"expected images in class folders in '{data}', found none; lay them out as "
                    "DATA/malignant/*.png, even if all are of one class"
                )
            there = quoted(name for name, images in found.splits.items() if images)
            raise DataError(
                f"expected images of the split '{split}' in '{data}', found those of {there}; choose another"
            )
        log(question.sentence)
        if not (positive or negative) and not (question.positive and question.negative):
            side = "negative" if question.positive else "positive"
            log(f"warning: by its name, no class of '{data}' is {side}; name the sides: --positive, --negative")
        source = open_source(found.root)
        with tqdm(total=len(samples), desc="reading images", unit="image", leave=False, disable=None) as bar:
            store = PixelStore(
                source,
                samples,
                known.preprocessing,
                limit=KEPT_BYTES,
                describe=lambda scan, origin, pixels: image_facts(scan, origin),
                described=range(len(samples)),
                progress=bar.update,
            )
        once, copies = _each_once(samples, store, question, found.classes, log)
        patients = find_patients(found, samples, group_regex, log)
        leaks = find_leaks(samples, once, store.digests, known, patients, found.root, drop_leaks=drop_leaks, log=log)
        rows = leaks.rows
        kept = [samples[row] for row in rows]
        spec = predictor.spec
        log(f"{known.kind} '{spec.name}' on {counted(len(rows), 'image')} ({split}) of {data}")
        outputs = predict_rows(predictor, store, rows)
    names = [found.classes[sample.label] for sample in kept]
    is_positive = np.isin(names, question.positive)
    groups = None
    if patients is not None:
        numbers = group_numbers(kept, store.digests, patients.names)
        groups = [numbers[sample.path] for sample in kept]
    recalibrated_on = known.was_recalibrated_on(kept, store.digests, found.classes)
    training = {"seen_in_training": leaks.seen_in_training, "patients": leaks.patients}
    optimistic = reasons_against(training, recalibrated_on=recalibrated_on)
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
            "name": found.root.resolve().name,
            "fingerprint": labelled_fingerprint(kept, store.digests, found.classes),
            "split": split,
            "images": len(rows),
            "groups": None if groups is None else len(set(groups)),
            "copies": copies,
            "classes": dict(sorted(Counter(names).items())),
            **{name: list(value) for name, value in asdict(question).items()},
            **training,
            "recalibrated_on": recalibrated_on,
        },
        **_metrics(spec, outputs, is_positive, store.cautions(kept, spec.brightness), bootstrap, optimistic),
        "shift": describe_shift(
            spec, [store.descriptions[sample.path] for sample in kept], outputs, is_positive, groups
        ),
    }
    return {**document, "caveats": _caveats(document, spec)}


def _each_once(
    samples: Sequence[Sample], store: PixelStore, question: Question, classes: Sequence[str], log: Log
) -> tuple[list[int], dict[str, int]]:
    """Returns the rows of the first of all copies of each scan, and the numbers of scans that are left out."""
    conflicting, repeated = extra_copies(
        samples, store.digests, lambda sample: classes[sample.label] in question.positive
    )
    for left, why in (
        (conflicting, "with a copy on the other side"),
        (repeated, "with identical pixels to another"),
    ):
        if left:
            log(f"left out: {counted(len(left), 'scan')} {why}")
    left_out = conflicting | repeated
    rows = [row for row, sample in enumerate(samples) if sample not in left_out]
    if not rows:
        raise DataError("expected scans without a copy on the other side, found none; correct their folders")
    return rows, {"repeated": len(repeated), "conflicting": len(conflicting)}


def _metrics(
    spec: ModelSpec,
    outputs: Outputs,
    is_positive: NDArray[np.bool_],
    cautions: Sequence[str | None],
    bootstrap: Mapping[str, Any],
    optimistic: Sequence[str],
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
        cautions=cautions,
    )
    decisions = np.array([decision.name for decision in found], np.str_)
    by_set = decide_all(outputs.probabilities, spec.classes, point, sets=spec.prediction_sets)
    referred_by = {"set": sum(decision.name == "refer" for decision in by_set)} if spec.prediction_sets else {}
    if spec.novelty is not None and outputs.novelty is not None:
        referred_by["novelty"] = int(spec.novelty.flags(outputs.novelty).sum())
    referred_by["caution"] = sum(caution is not None for caution in cautions)
    groups = None if bootstrap["groups"] is None else np.array(bootstrap["groups"])

    def share(flags: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> Share:
        return exact_share_of(flags[chosen], None if groups is None else groups[chosen])

    sensitivity, specificity = share(called, is_positive), share(~called, ~is_positive)
    return {
        "verdict": asdict(judge_point(point, sensitivity, specificity, optimistic=optimistic)),
        "auroc": _auroc(score, is_positive, bootstrap),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "target_sensitivity": point.target_sensitivity,
        "positive_classes": list(point.positive),
        "decisions": {
            side: {name: share(decisions == name, of_side) for name in ("positive", "negative", "refer")}
            for side, of_side in (("positive", is_positive), ("negative", ~is_positive))
        },
        "referred": exact_share_of(decisions == "refer", groups),
        "referred_by": referred_by,
        "missed": share(decisions == "negative", is_positive),
        "cautions": referred_by["caution"],
    }


def _auroc(score: NDArray[np.float64], is_positive: NDArray[np.bool_], bootstrap: Mapping[str, Any]) -> Share:
    if is_positive.all() or not is_positive.any():
        return {"value": None, "interval": None, "images": 0}
    sides = evaluate(np.stack([1 - score, score], axis=1), is_positive.astype(int).tolist(), ("-", "+"), **bootstrap)
    interval = sides.get("intervals", {}).get("per_class", {}).get("+", {}).get("auroc")
    return {"value": sides["per_class"]["+"]["auroc"], "interval": interval, "images": len(score)}


def _caveats(document: Mapping[str, Any], spec: ModelSpec) -> list[str]:
    data, found = document["data"], list[str]()
    if not data["positive"]:
        found.append("there are no positive scans: AUROC, sensitivity and missed cannot be computed")
    if not data["negative"]:
        found.append("there are no negative scans: AUROC and specificity cannot be computed")
    found += selection_caveats(
        recalibrated_on=data["recalibrated_on"],
        chosen_by=data["seen_in_training"]["chosen_by"],
        chosen_by_patients=(data["patients"] or {}).get("chosen_by"),
        fitted_on=fitted_on(spec.history),
    )
    if missing := missing_checks(spec):
        found.append(missing)
    if data["seen_in_training"]["trained_on"] is None:
        found.append("whether the model was trained on some of these scans is unknown: its run is not next to it")
    elif data["seen_in_training"]["trained_on"]:
        found.append("the model was trained on some of these scans: the metrics are optimistic")
    elif (data["patients"] or {}).get("trained_on"):
        found.append("the model was trained on other scans of some of these patients: the metrics are optimistic")
    return found
