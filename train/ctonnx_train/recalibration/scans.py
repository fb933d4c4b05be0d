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
from ctonnx_train.data.leakage import extra_copies, group_names, group_numbers, labelled_fingerprint
from ctonnx_train.data.pixel_store import KEPT_BYTES, PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.evaluate import read_dataset
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, predict_rows, rgb_pixels

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
        groups: Number of each scan's group, such as its patient, [scans].
        is_grouped: Whether groups were requested; if not, each scan is its own.
        leaked: Scans of patients that the model was trained on, bool [scans]; None if unknown.
        pixels: Pixels of the first scans, uint8 [scans, size, size, 3], to compare two model files on.
        facts: JSON-ready facts: name, fingerprint, split, images of each class, and the numbers of scans that chose the
            model's earlier values, and of those left out.
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
    log: Log,
) -> SiteScans:
    """Reads a dataset, and predicts its scans: each once, without those that the model was trained on.

    Copies, which would count twice, are left out, and scans with copies of another class altogether.

    Args:
        predictor: The model.
        model: The same model, with the digests of its training images if its run is next to it.
        data: Dataset; see `ctonnx_train.data.image_folder.read_data`.
        positive: Suspicious classes.
        split: Split to use.
        class_names: Canonical names for class folders, by the folder's name.
        group_regex: Regular expression for the groups of scans that are kept together; see
            `ctonnx_train.data.leakage.group_names`.
        log: Called with each progress message.

    Raises:
        DataError: If the dataset or its split is missing, has classes that the model does not know, or the scans
            are too few.
        ProviderError: If the model's outputs are not finite.
    """
    found = read_dataset(model, data, class_names)
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
    trained_on = {sample for sample in samples if store.digests[sample.path] in seen} - conflicting - repeated
    for left, why in (
        (conflicting, "with a copy of another class"),
        (repeated, "with identical pixels to another"),
        (trained_on, "that the model was trained on"),
    ):
        if left:
            log(f"left out: {counted(len(left), 'scan')} {why}")
    left_out = conflicting | repeated | trained_on
    rows = [row for row, sample in enumerate(samples) if sample not in left_out]
    if not rows:
        raise DataError(f"expected scans in '{data}' that the model was not trained on, found none; use other scans")
    kept = [samples[row] for row in rows]
    names = group_names(kept, group_regex)
    numbers = group_numbers(kept, store.digests, names)
    labels = np.array([sample.label for sample in kept], np.int64)
    groups = np.array([numbers[sample.path] for sample in kept], np.int64)
    _check_enough(labels, groups, model.classes, positive, data)
    leaked = _of_training_patients(kept, numbers, names, model, found.root)
    if count := 0 if leaked is None else int(leaked.sum()):
        log(
            f"warning: {counted(count, 'scan')} of patients that the model was trained on: the values are fitted on "
            "the others, if there are enough; the comparison is optimistic"
        )
    log(f"{model.kind} '{model.name}' on {counted(len(rows), 'scan')} of {data}")
    outputs = predict_rows(predictor, store, rows)
    counts = Counter(labels.tolist())
    return SiteScans(
        classes=model.classes,
        labels=labels,
        logits=outputs.logits,
        novelty=outputs.novelty,
        impressions=tuple(store.impressions[sample.path] for sample in kept),
        groups=groups,
        is_grouped=group_regex is not None,
        leaked=leaked,
        pixels=rgb_pixels(store, rows[:_COMPARED]),
        facts={
            "name": data.resolve().name,
            "fingerprint": labelled_fingerprint(kept, store.digests, model.classes),
            "split": split,
            "images": {name: counts[label] for label, name in enumerate(model.classes)},
            "chosen_by": sum(store.digests[sample.path] in (model.chosen_by or ()) for sample in kept),
            "left_out": {
                "conflicting": len(conflicting),
                "copies": len(repeated),
                "trained_on": len(trained_on) if model.trained_on else None,
            },
        },
    )


def _of_training_patients(
    scans: Sequence[Sample], groups: Mapping[str, int], names: Mapping[str, str], model: EvaluatedModel, root: Path
) -> NDArray[np.bool_] | None:
    """Returns the scans whose group has a training patient, bool [scans]; None if unknown.

    The names in paths are compared in the folder of the training alone: another site has a `patient_1`, too.
    """
    trained = model.trained_on_patients("--group-regex") if names else None
    if trained is None or model.data_root != root.resolve():
        return None
    known = {groups[path] for path, name in names.items() if name in trained}
    return np.array([groups[scan.path] in known for scan in scans], bool)


def _check_enough(
    labels: NDArray[np.int64], groups: NDArray[np.int64], classes: Sequence[str], positive: Sequence[str], data: Path
) -> None:
    """Raises DataError if the scans are too few to fit the values and to judge the fit.

    With fewer than 20 suspicious scans, a sensitivity of 0.95 would leave none that may be missed.
    """
    suspicious = int(np.isin(labels, [classes.index(name) for name in positive]).sum())
    others = len(labels) - suspicious
    images = {name: int((labels == label).sum()) for label, name in enumerate(classes)}
    units = {name: len(np.unique(groups[labels == label])) for label, name in enumerate(classes)}
    if min(suspicious, others) >= LEAST_OF_KIND and min(units.values()) >= LEAST_OF_CLASS:
        return
    found = ", ".join(
        f"{name} {images[name]}" + (f" in {counted(units[name], 'group')}" if units[name] < images[name] else "")
        for name in classes
    )
    raise DataError(
        f"expected {LEAST_OF_KIND} or more suspicious scans, {LEAST_OF_KIND} or more others, and {LEAST_OF_CLASS} or "
        f"more of each class, each in a group of its own, in '{data}', found {suspicious} suspicious and {others} "
        f"others ({found}): too few to fit a threshold and to judge it; add labelled scans, or keep the model as it is"
    )
