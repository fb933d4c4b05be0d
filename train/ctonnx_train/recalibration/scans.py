"""A site's labelled scans, and the outputs of a model for them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.errors import DataError
from ctonnx.prediction.cautions import Impression
from ctonnx.prediction.predictor import Predictor
from ctonnx.system.text import Log, counted, quoted
from ctonnx_train.data.layouts.patient_sources import find_patients
from ctonnx_train.data.leakage import extra_copies, group_numbers, labelled_fingerprint
from ctonnx_train.data.pixel_store import KEPT_BYTES, PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.evaluate import read_dataset
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, predict_rows, rgb_pixels
from ctonnx_train.evaluation.patients.slices import ChosenSlices, choose_slices, left_out_in_words

__all__ = ["FOLDS", "LEAST_OF_CLASS", "LEAST_OF_KIND", "ScanSplit", "SiteScans", "read_scans"]

ScanSplit: TypeAlias = Literal["train", "valid", "test", "all"]

FOLDS = 5
"""Number of folds of the cross-validation."""

LEAST_OF_KIND = 20
"""Minimum number of suspicious scans, and of others."""

LEAST_OF_CLASS = FOLDS
"""Minimum number of scans, or of groups of scans, of each class: one for each fold."""

_COMPARED = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteScans:
    """Labelled scans, each once, with a model's outputs.

    Attributes:
        labels: Class of each scan, [scans], as an index into `classes`.
        logits: Logits, [scans, classes], not divided by the temperature.
        novelty: Novelty, [scans]; None if the model has no such output.
        impressions: `Impression` of each scan, [scans].
        groups: Number of each scan's patient, [scans]; one without a known patient is its own.
        is_grouped: Whether any patient is known; if not, each scan is its own.
        leaked: Scans of patients that the model was trained on, bool [scans]; None if there are none.
        chosen: Scans that a patient's score comes from, as in prediction; None uses all.
        pixels: Pixels of the first scans, uint8 [scans, size, size, 3], to compare two model files on.
        facts: JSON-ready facts: name, fingerprint (of these scans and those left out for their patients), split, images
            of each class, source and number of the patients if they are known, and the numbers of scans that chose the
            model's earlier values, of patients with other such scans (None if unknown), and of scans left out.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    novelty: NDArray[np.float32] | None
    impressions: tuple[Impression, ...]
    groups: NDArray[np.int64]
    is_grouped: bool
    pixels: NDArray[np.uint8]
    facts: Mapping[str, Any]
    leaked: NDArray[np.bool_] | None = None
    chosen: ChosenSlices | None = None

    def __len__(self) -> int:
        return len(self.labels)


def read_scans(
    predictor: Predictor,
    model: EvaluatedModel,
    data: Path,
    *,
    positive: Sequence[str],
    split: ScanSplit,
    class_names: Mapping[str, str] | None,
    group_regex: str | None,
    labels_file: Path | None = None,
    log: Log,
) -> SiteScans:
    """Reads a dataset, and predicts its scans: each once, without those that the model was trained on.

    Copies, which would count twice, are left out, and scans with copies of another class altogether. Patients are those
    of `ctonnx_train.data.layouts.patient_sources.find_patients`. Scans of patients that the model was trained on are
    left out, too, if they are comparable (`EvaluatedModel.seen_patients`); if too few others would remain, they are
    kept and marked as leaked.

    Args:
        predictor: The model.
        model: The same model, with the digests of its training images if its run is next to it.
        data: Dataset; see `ctonnx_train.data.image_folder.read_data`.
        positive: Suspicious classes.
        split: Split to use.
        class_names: Canonical names for class folders, by the folder's name.
        group_regex: Regular expression for the patients; see `ctonnx_train.data.leakage.group_names`.
        labels_file: Labels file of the images in `data`, if it has one.
        log: Called with each progress message.

    Raises:
        DataError: If the dataset or its split is missing, has classes that the model does not know, or the scans
            are too few.
        ProviderError: If the model's outputs are not finite.
    """
    found = read_dataset(model, data, class_names, labels_file)
    for note in found.notes:
        log(note)
    samples = found.samples if split == "all" else found.splits[split]
    if not samples:
        there = quoted(name for name, images in found.splits.items() if images) or "no split"
        raise DataError(f"expected images of the split '{split}' in '{data}', found {there}; choose another --split")
    source = open_source(found.root)
    with tqdm(total=len(samples), desc="reading images", unit="image", leave=False, disable=None) as bar:
        store = PixelStore(source, samples, model.preprocessing, limit=KEPT_BYTES, progress=bar.update)
    conflicting, repeated = extra_copies(samples, store.digests, lambda sample: sample.label)
    seen = model.trained_on or frozenset()
    patients = find_patients(found, samples, group_regex, log)
    names = {} if patients is None else patients.names
    trained_on = {sample for sample in samples if store.digests[sample.path] in seen} - conflicting - repeated
    unseen = [sample for sample in samples if sample not in conflicting | repeated | trained_on]
    numbers = group_numbers(unseen, store.digests, names)
    known = model.seen_patients(patients, found.root)
    of_patients = {sample for sample in unseen if known and names.get(sample.path) in known.trained_on}
    others = [sample for sample in unseen if sample not in of_patients]
    leaves_enough = _lacking(others, numbers, model.classes, positive) is None
    trained_on |= of_patients if leaves_enough else set()
    for left, why in (
        (conflicting, "with a copy of another class"),
        (repeated, "with identical pixels to another"),
        (trained_on, "that the model was trained on"),
    ):
        if left:
            log(f"left out: {counted(len(left), 'scan')} {why}")
    kept = others if leaves_enough else unseen
    if not kept:
        raise DataError(f"expected scans in '{data}' that the model was not trained on, found none; use other scans")
    if lacking := _lacking(kept, numbers, model.classes, positive):
        raise DataError(
            f"expected {LEAST_OF_KIND} or more suspicious scans, {LEAST_OF_KIND} or more others, and {LEAST_OF_CLASS} "
            f"or more of each class, each in a group of its own, in '{data}', found {lacking}: too few to fit a "
            "threshold and to judge it; add labelled scans, or keep the model as it is"
        )
    leaked = None
    if of_patients and not leaves_enough:
        leaked = np.array([sample in of_patients for sample in kept], bool)
        log(
            f"warning: {counted(len(of_patients), 'scan')} of patients that the model was trained on: the values are "
            "fitted on the others, if there are enough; the comparison is optimistic"
        )
    chosen = None if patients is None else choose_slices(patients, kept, store.digests)
    if chosen and (words := left_out_in_words(chosen.as_dict())):
        log(f"patients: {words}")
    row_of = {sample: row for row, sample in enumerate(samples)}
    rows = [row_of[sample] for sample in kept]
    labels = np.array([sample.label for sample in kept], np.int64)
    log(f"{model.kind} '{model.name}' on {counted(len(rows), 'scan')} of {data}")
    outputs = predict_rows(predictor, store, rows)
    counts = Counter(labels.tolist())
    digests = [store.digests[sample.path] for sample in kept]
    people = model.count_patients(known, [names.get(sample.path) for sample in kept], digests)
    return SiteScans(
        classes=model.classes,
        labels=labels,
        logits=outputs.logits,
        novelty=outputs.novelty,
        impressions=tuple(store.impressions[sample.path] for sample in kept),
        groups=np.array([numbers[sample.path] for sample in kept], np.int64),
        is_grouped=patients is not None,
        leaked=leaked,
        chosen=chosen,
        pixels=rgb_pixels(store, rows[:_COMPARED]),
        facts={
            "name": data.resolve().name,
            "fingerprint": labelled_fingerprint(unseen, store.digests, model.classes),
            "split": split,
            "patients": patients
            and {
                "origin": patients.origin,
                "count": len({names[sample.path] for sample in kept if sample.path in names}),
            },
            "images": {name: counts[label] for label, name in enumerate(model.classes)},
            "chosen_by": sum(digest in (model.chosen_by or ()) for digest in digests),
            "chosen_by_patients": people["chosen_by"],
            "left_out": {
                "conflicting": len(conflicting),
                "copies": len(repeated),
                "trained_on": len(trained_on) if model.trained_on else None,
            },
        },
    )


def _lacking(
    scans: Sequence[Sample], groups: Mapping[str, int], classes: Sequence[str], positive: Sequence[str]
) -> str | None:
    """Returns the numbers of scans in words if they are too few to fit the values and to judge the fit, else None.

    With fewer than 20 suspicious scans, a sensitivity of 0.95 would leave none that may be missed.
    """
    images = dict.fromkeys(classes, 0)
    inner: dict[str, set[int]] = {name: set() for name in classes}
    for path, label in scans:
        images[classes[label]] += 1
        inner[classes[label]].add(groups[path])
    units = {name: len(found) for name, found in inner.items()}
    suspicious = sum(images[name] for name in positive)
    others = len(scans) - suspicious
    if min(suspicious, others) >= LEAST_OF_KIND and min(units.values()) >= LEAST_OF_CLASS:
        return None
    counts = ", ".join(
        f"{name} {images[name]}" + (f" in {counted(units[name], 'group')}" if units[name] < images[name] else "")
        for name in classes
    )
    return f"{suspicious} suspicious and {others} others ({counts})"
