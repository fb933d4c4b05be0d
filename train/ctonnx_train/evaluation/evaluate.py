"""`evaluate_model`: metrics of a model on labelled images, with their caveats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.artifacts.caveats import (
    missing_checks,
    novelty_caveats,
    operating_point_caveats,
    patient_rule_caveats,
    prediction_set_caveats,
    split_caveats,
)
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import Aggregate, PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.shortcuts import shortcut_caveats
from ctonnx.artifacts.spec import VALIDATION_IMAGES
from ctonnx.errors import DataError
from ctonnx.parity.comparison import compare_probabilities
from ctonnx.system.text import Log, counted, quoted
from ctonnx_train.data.dataset import Dataset, describe
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.layouts.class_names import class_name
from ctonnx_train.data.layouts.labels_file import labels_in
from ctonnx_train.data.layouts.patient_sources import find_patients
from ctonnx_train.data.leakage import group_numbers, labelled_fingerprint
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.pixel_store import KEPT_BYTES, PixelStore
from ctonnx_train.data.sources import Source, open_source, read_arrays
from ctonnx_train.data.splits import SPLITS, Sample
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, selection_caveats
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.threshold import suspicious_metrics
from ctonnx_train.evaluation.patients.metrics import PatientSlices, find_rule, patient_metrics
from ctonnx_train.evaluation.patients.slices import left_out_in_words
from ctonnx_train.evaluation.statistics.mcnemar import mcnemar
from ctonnx_train.evaluation.statistics.metrics import REPLICATES, evaluate

__all__ = [
    "SCHEMA_VERSION",
    "EvaluatedSplit",
    "Evaluation",
    "choose_split",
    "evaluate_model",
    "names_in",
    "read_dataset",
    "summarize",
]

SCHEMA_VERSION = 1
"""Version of the evaluation's JSON document."""

EvaluatedSplit: TypeAlias = Literal["train", "valid", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Result of an evaluation; the probabilities are [images, classes].

    `source` and `samples` are the images. `document` is a JSON-ready dictionary with `schema_version`, `model`, `data`,
    `metrics`, `suspicious`, `decisions`, `caveats`; if the patients are known, `patients`; and, if two models were
    compared, `comparison`.
    """

    document: dict[str, Any]
    probabilities: NDArray[np.floating[Any]]
    labels: NDArray[np.int64]
    source: Source | None = None
    samples: tuple[Sample, ...] = ()


def evaluate_model(
    model: EvaluatedModel,
    data: Path,
    *,
    split: EvaluatedSplit | None = None,
    other: EvaluatedModel | None = None,
    labels_file: Path | None = None,
    class_names: Mapping[str, str] | None = None,
    group_regex: str | None = None,
    patients: Patients | None = None,
    aggregate: Aggregate | None = None,
    top_k: int | None = None,
    drop_leaks: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
    log: Log = lambda line: None,
) -> Evaluation:
    """Evaluates a model, and optionally compares it with another one.

    Args:
        model: Model from `ctonnx_train.evaluation.evaluated_model.open_evaluated_model`.
        data: Dataset; see `ctonnx_train.data.image_folder.read_data`. It need not have all classes.
        split: Split to evaluate; None takes `test`, else `valid`, else all images.
        other: Model to compare with; it must have the same classes, in any order.
        labels_file: Labels file of the images in `data`, if it has one.
        class_names: Canonical names for class folders, by the folder's name, in addition to those of the training.
        group_regex: Regular expression for the patients of the images; see `ctonnx_train.data.leakage.group_names`.
        patients: Patients of the images, instead of those of `group_regex`. Where they are known, intervals are
            those of resampled patients, and metrics per patient are added.
        aggregate: Aggregate of the metrics per patient; None takes the model's rule for patients, if it has one.
        top_k: Number of slices of the aggregate `top-k`; None is 3.
        drop_leaks: Whether to leave out images that a model was trained on.
        replicates: Number of bootstrap resamples.
        seed: Random seed of the bootstrap.
        log: Called with each progress message.

    Raises:
        DataError: If the split is missing, the data has classes that the model does not know, no image is left, all
            images of a split made by the run have changed, the training images are unknown but must be dropped,
            `other` has other classes, or `aggregate` is given and the patients or the suspicious classes are unknown.
    """
    models = [model] if other is None else [model, other]
    if other is not None and set(other.classes) != set(model.classes):
        raise DataError(
            f"expected a model with the classes {quoted(model.classes)} to compare with, found one with "
            f"{quoted(other.classes)}"
        )
    for each in models:
        if drop_leaks and each.trained_on is None:
            raise DataError(
                f"expected to know which images '{each.path}' was trained on, for --drop-leaks, found no run with "
                "their digests next to it; evaluate its run, or leave out --drop-leaks"
            )
    found = read_dataset(model, data, class_names, labels_file)
    describe(replace(found, to_make=()), log)  # no split is made here
    split, samples = choose_split(found, split, model)
    source = open_source(found.root)
    with tqdm(total=len(samples), desc="reading images", unit="image", leave=False, disable=None) as bar:
        store = PixelStore(source, samples, model.preprocessing, limit=KEPT_BYTES, progress=bar.update)
    digests = [store.digests[sample.path] for sample in samples]
    rows = list(range(len(samples)))
    if split in found.to_make:  # made by the run: its images are identified by their pixels
        rows = [row for row in rows if digests[row] in model.digests[split]]
        if not rows:
            raise DataError(
                f"expected the images of the split '{split}' that '{model.path}' took from '{data}', found that all "
                "of them have changed or been removed since; restore them, or choose another --split, or all"
            )
    chosen = len(rows)
    patients = patients or find_patients(found, samples, group_regex, log)
    names = [None if patients is None else patients.names.get(sample.path) for sample in samples]
    known = [each.seen_patients(patients, found.root, named_by=model) for each in models]
    if drop_leaks and patients and None in known:
        log("warning: the training patients of a model are unknown here: --drop-leaks compares its images only")
    if drop_leaks:
        rows = [row for row in rows if not any(digests[row] in (each.trained_on or ()) for each in models)]
        rows = [row for row in rows if not any(one and names[row] in one.trained_on for one in known)]
    if not rows:
        raise DataError(f"expected images in '{data}' that the model was not trained on, found none")
    log(f"{model.kind} '{model.name}' on {counted(len(rows), 'image')} ({split}) of {data}")
    seen = [_count_seen(each, [digests[row] for row in rows]) for each in models]
    for each, counts in zip(models, seen, strict=True):
        if count := counts["trained_on"]:
            verb, left_out = ("is", "it") if count == 1 else ("are", "them")
            log(
                f"warning: {count} of the {counted(len(rows), 'image')} {verb} among those that '{each.path}' was "
                f"trained on: the metrics are optimistic; --drop-leaks leaves {left_out} out"
            )
    of_rows = [names[row] for row in rows], [digests[row] for row in rows]
    people = [each.count_patients(one, *of_rows) for each, one in zip(models, known, strict=True)]
    for each, counts in zip(models, people, strict=True):
        if count := counts["trained_on"]:
            verb = "is" if count == 1 else "are"
            log(
                f"warning: {count} of the {counted(counts['patients'] or 0, 'patient')} {verb} among those that "
                f"'{each.path}' was trained on: the metrics are optimistic; --drop-leaks leaves their images out"
            )
    evaluated = [samples[row] for row in rows]
    labels = np.array([sample.label for sample in evaluated])
    probabilities, novelty = model.predict(store, rows)
    is_novel = None if model.novelty is None or novelty is None else model.novelty.flags(novelty)
    cautions = store.cautions(evaluated, model.brightness)
    has_caution = np.array([caution is not None for caution in cautions])
    slices = None
    if patients is not None:  # copies of an image belong to one group, too
        numbers = group_numbers(samples, store.digests, patients.names)
        slices = PatientSlices(
            patients=patients,
            samples=evaluated,
            groups=[numbers[sample.path] for sample in evaluated],
            is_novel=is_novel,
            has_caution=has_caution,
            digests=store.digests,
        )
        if words := left_out_in_words(slices.chosen.as_dict()):
            log(f"patients: {words}")
    rule = find_rule(model, aggregate, top_k, has_patients=slices is not None)
    groups = slices.groups if slices else None
    document = summarize(
        model=_describe(model),
        data={
            "path": str(data),
            "name": found.root.resolve().name,
            "fingerprint": labelled_fingerprint(evaluated, store.digests, model.classes),
            "split": split,
            "images": len(rows),
            "trained_on_with_copies": model.data.get("leaks"),
            "seen_in_training": seen[0] | {"dropped": chosen - len(rows)},
            "patients": None if patients is None else {"origin": patients.origin, **people[0]},
            "recalibrated_on": model.was_recalibrated_on(evaluated, store.digests, model.classes),
        },
        metrics=evaluate(
            probabilities,
            labels.tolist(),
            model.classes,
            groups=groups,
            unit=slices.unit if slices else "image",
            replicates=replicates,
            seed=seed,
        ),
        suspicious=suspicious_metrics(model.operating_point, probabilities, labels, model.classes, groups),
        decisions=decision_metrics(
            probabilities,
            labels,
            model.classes,
            point=model.operating_point,
            sets=model.prediction_sets,
            is_novel=is_novel,
            has_caution=has_caution,
            groups=groups,
        ),
        patients=patient_metrics(slices, probabilities, labels, model.classes, rule, replicates=replicates, seed=seed)
        if slices
        else None,
        rule=rule.rule,
        point=model.operating_point,
        sets=model.prediction_sets,
        novelty=model.novelty,
        shortcuts=model.shortcuts,
        missing=missing_checks(model.predictor.spec) if model.predictor else None,
    )
    if other is not None:
        if other.preprocessing != model.preprocessing:
            store = PixelStore(source, samples, other.preprocessing, limit=KEPT_BYTES)
        others = other.probabilities(store, rows)[:, [other.classes.index(name) for name in model.classes]]
        document["comparison"] = {
            "other": _describe(other),
            "seen_in_training": seen[1],
            **_compare(probabilities, others, labels, groups),
        }
    return Evaluation(
        document=document,
        probabilities=probabilities,
        labels=labels,
        source=source,
        samples=tuple(evaluated),
    )


def summarize(
    *,
    model: dict[str, Any],
    data: dict[str, Any],
    metrics: dict[str, Any],
    suspicious: dict[str, Any] | None,
    decisions: dict[str, Any] | None = None,
    patients: dict[str, Any] | None = None,
    rule: PatientRule | None = None,
    point: OperatingPoint | None = None,
    sets: PredictionSets | None = None,
    novelty: Novelty | None = None,
    shortcuts: Mapping[str, Any] | None = None,
    missing: str | None = None,
) -> dict[str, Any]:
    """Returns the JSON document of an evaluation, with the caveats of its metrics and of the model's decisions.

    `patients` are the metrics per patient, and `rule` the model's rule for them; None where the patients are unknown.
    `missing` is a sentence about the parts that the decisions lack, if they do.
    """
    images = model.get("fitted_on", VALIDATION_IMAGES)
    caveats = [
        *selection_caveats(
            recalibrated_on=data.get("recalibrated_on", False),
            chosen_by=data["seen_in_training"]["chosen_by"],
            chosen_by_patients=(data.get("patients") or {}).get("chosen_by"),
            fitted_on=images,
        ),
        *split_caveats(metrics, suspicious, data["split"], decisions, patients),
        *shortcut_caveats(shortcuts),
        *operating_point_caveats(point),
        *prediction_set_caveats(sets, images),
        *novelty_caveats(novelty, images),
        *patient_rule_caveats(rule, images),
        *([missing] if missing else ()),
    ]
    return {
        "caveats": caveats,
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "data": data,
        "metrics": metrics,
        "suspicious": suspicious,
        "decisions": decisions,
        **({} if patients is None else {"patients": patients}),
    }


def read_dataset(
    model: EvaluatedModel, data: Path, class_names: Mapping[str, str] | None, labels_file: Path | None = None
) -> Dataset:
    """Reads the dataset, with the class names and pseudonyms that the training gave to the same folders and patients.

    `labels_file` is that of the images in `data`, if there is one.
    """
    given = dict(class_names or {})
    chosen = {old: new for old, new in model.class_names.items() if class_name(old) != new} | given
    pseudonyms = model.pseudonyms()
    if labels_file is not None:
        there = labels_in(labels_file)
        chosen = {old: new for old, new in chosen.items() if old in there or old in given}
        return read_data(data, class_names=chosen, classes=model.classes, labels=labels_file, pseudonyms=pseudonyms)
    if chosen.keys() == given.keys():
        return read_data(data, class_names=given, classes=model.classes, pseudonyms=pseudonyms)
    any_class = tuple({*model.classes, *given.values(), *names_in(data)})
    folders = read_data(data, class_names=given, classes=any_class, known=chosen).folder_classes
    chosen = {old: new for old, new in chosen.items() if old in folders}
    return read_data(data, class_names=chosen, classes=model.classes, pseudonyms=pseudonyms)


def names_in(data: Path, labels_file: Path | None = None) -> set[str]:
    """Returns all names that the built-in rules can give to a dataset's class folders, numbers or labels."""
    if labels_file is not None:
        return set(map(class_name, labels_in(labels_file)))
    if data.is_dir():
        return {class_name(folder.name) for folder in data.rglob("*") if folder.is_dir()}
    if data.suffix.lower() != ".npz" or not data.is_file():
        return set()  # reading the dataset raises the error
    labels = (array for name, array in read_arrays(data).items() if name.endswith("_labels"))
    return {class_name(str(label)) for array in labels for label in np.unique(array)}


def choose_split(
    data: Dataset, split: EvaluatedSplit | None, model: EvaluatedModel
) -> tuple[EvaluatedSplit, tuple[Sample, ...]]:
    """Returns the split, or `test`, else `valid`, else all, and its samples; all samples if the run made the split.

    Raises:
        DataError: If there are no such images.
    """
    is_its_own = model.data_root == data.root.resolve()
    made = [name for name in data.to_make if is_its_own and model.digests.get(name)]
    filled = [name for name in SPLITS if data.splits[name] or name in made]
    split = split or ("test" if "test" in filled else "valid" if "valid" in filled else "all")
    samples = data.samples if split == "all" or split in made else data.splits[split]
    if not samples:
        found = f"those of {quoted(filled)} only" if filled else "none"
        advice = (
            "name a folder with images in class folders"
            if split == "all"
            else f"choose another --split{', or all' if data.samples else ''}"
        )
        wanted = "labelled images" if split == "all" else f"images of the split '{split}'"
        raise DataError(f"expected {wanted} in '{data.root}', found {found}; {advice}")
    return split, samples


def _count_seen(model: EvaluatedModel, digests: Sequence[str]) -> dict[str, int | None]:
    """Returns the numbers of images that a model was trained on and selected by; None if they are unknown."""
    known = {"trained_on": model.trained_on, "chosen_by": model.chosen_by}
    return {name: None if seen is None else sum(map(seen.__contains__, digests)) for name, seen in known.items()}


def _describe(model: EvaluatedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "kind": model.kind,
        "path": str(model.path),
        "classes": list(model.classes),
        "synthetic": model.synthetic,
        "fitted_on": model.fitted_on,
    }


def _compare(
    probabilities: NDArray[np.floating[Any]],
    others: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    groups: Sequence[int] | None,
) -> dict[str, Any]:
    agreement, max_dp, mean_dp = compare_probabilities(probabilities, others)
    accuracy, other_accuracy = (float((values.argmax(axis=1) == labels).mean()) for values in (probabilities, others))
    return {
        "images": len(labels),
        "agreement": agreement,
        "max_dp": max_dp,
        "mean_dp": mean_dp,
        "accuracy_difference": other_accuracy - accuracy,
        "mcnemar": mcnemar(probabilities, others, labels, groups),
        "accuracy": accuracy,
        "other_accuracy": other_accuracy,
    }
