"""`evaluate_model`: a model's figures on labelled images, with what must be known to believe them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.artifacts.caveats import operating_point_caveats, split_caveats
from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.errors import DataError
from ctonnx.system.text import Log, counted, quoted
from ctonnx_train.data.dataset import Dataset, describe
from ctonnx_train.data.folder_structure.class_names import class_name
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.leakage import group_names, group_numbers
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source, read_arrays
from ctonnx_train.data.splits import SPLITS, Sample
from ctonnx_train.evaluation.calibration import suspicious_figures
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel
from ctonnx_train.evaluation.mcnemar import compare_answers
from ctonnx_train.evaluation.metrics import REPLICATES, evaluate

__all__ = ["SCHEMA_VERSION", "EvaluatedSplit", "Evaluation", "evaluate_model", "summarize"]

SCHEMA_VERSION = 1
"""Of the evaluation's JSON document."""

_KEPT_BYTES = 8_000_000_000

EvaluatedSplit: TypeAlias = Literal["train", "valid", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        document: JSON-ready: `schema_version`, `model`, `data`, `metrics`, `suspicious` and, where two models were
            compared, `comparison`.
        probabilities: [images, classes].
        labels: Class index of each image.
    """

    document: dict[str, Any]
    probabilities: NDArray[np.floating[Any]]
    labels: NDArray[np.int64]


def evaluate_model(
    subject: EvaluatedModel,
    data: Path,
    *,
    split: EvaluatedSplit | None = None,
    other: EvaluatedModel | None = None,
    class_names: Mapping[str, str] | None = None,
    group_regex: str | None = None,
    drop_leaks: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
    log: Log = lambda line: None,
) -> Evaluation:
    """Evaluates a model, and compares it with another one where that is asked for.

    Args:
        subject: from `ctonnx_train.evaluation.evaluated_model.open_evaluated_model`.
        data: See `ctonnx_train.data.image_folder.read_data`; classes may lack.
        split: which of its splits; None takes `test`, else `valid`, else all images.
        other: with the same classes, in whatever order.
        class_names: Canonical names for class folders, by the folder's name, beside those that the training knew.
        group_regex: Names the groups of images that the bootstrap resamples as a whole; see
            `ctonnx_train.data.leakage.group_names`.
        drop_leaks: Whether images that the model was trained on are left out.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        log: Called with each progress message.

    Raises:
        DataError: The data set lacks the split, or has classes that the model does not know; no image is left, all of
            a made split have changed, or what the model was trained on is not known where it is to be left out;
            `other` has other classes.
    """
    models = [subject] if other is None else [subject, other]
    if other is not None:
        _refuse_other_classes(subject, other)
    for model in models:
        if drop_leaks and model.trained_on is None:
            raise DataError(
                f"expected to know which images '{model.path}' was trained on, for --drop-leaks, found no run with "
                "their digests beside it; evaluate its run, or leave out --drop-leaks"
            )
    found = _read(subject, data, class_names)
    describe(replace(found, to_make=()), log)  # nothing is made here
    split, samples = _choose(found, split, subject)
    source = open_source(found.root)
    with tqdm(total=len(samples), desc="reading images", unit="image", leave=False, disable=None) as bar:
        store = PixelStore(source, samples, subject.preprocessing, limit=_KEPT_BYTES, progress=bar.update)
    rows = list(range(len(samples)))
    if split in found.to_make:  # the run made it: its images are known by their pixels
        rows = [row for row in rows if store.digests[samples[row].path] in subject.digests[split]]
        if not rows:
            raise DataError(
                f"expected the images of the split '{split}' that '{subject.path}' took from '{data}', found that all "
                "of them have changed or gone since; put them back, or choose another --split, or all"
            )
    chosen = len(rows)
    trained_on = {row for model in models for row in _rows_in(rows, samples, store, model.trained_on)}
    if drop_leaks:
        rows = [row for row in rows if row not in trained_on]
    if not rows:
        raise DataError(f"expected images in '{data}' that the model was not trained on, found none")
    log(f"{subject.kind} '{subject.name}' on {counted(len(rows), 'image')} ({split}) of {data}")
    for model in models:
        if count := len(_rows_in(rows, samples, store, model.trained_on)):
            verb, left_out = ("is", "it") if count == 1 else ("are", "them")
            log(
                f"warning: {count} of the {counted(len(rows), 'image')} {verb} among those that '{model.path}' was "
                f"trained on: the figures flatter; --drop-leaks leaves {left_out} out"
            )
    seen = _seen(rows, samples, store, subject) | {"dropped": chosen - len(rows)}
    labels = np.array([samples[row].label for row in rows])
    probabilities = subject.probabilities(store, rows)
    groups = None
    if group_regex is not None:  # copies of an image are of one group too
        numbers = group_numbers(samples, store.digests, group_names(samples, group_regex))
        groups = [numbers[samples[row].path] for row in rows]
    document = summarize(
        model=_model(subject),
        data={
            "path": str(data),
            "split": split,
            "images": len(rows),
            "trained_on_with_copies": subject.data.get("leaks"),
            "seen_in_training": seen,
        },
        metrics=evaluate(
            probabilities, labels.tolist(), subject.classes, groups=groups, replicates=replicates, seed=seed
        ),
        suspicious=suspicious_figures(subject.operating_point, probabilities, labels, subject.classes),
        point=subject.operating_point,
    )
    if other is not None:
        if other.preprocessing != subject.preprocessing:
            store = PixelStore(source, samples, other.preprocessing, limit=_KEPT_BYTES)
        answers = other.probabilities(store, rows)[:, [other.classes.index(name) for name in subject.classes]]
        document["comparison"] = {
            "other": _model(other),
            "seen_in_training": _seen(rows, samples, store, other),
            **compare_answers(probabilities, answers, labels),
            "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
            "other_accuracy": float((answers.argmax(axis=1) == labels).mean()),
        }
    return Evaluation(document=document, probabilities=probabilities, labels=labels)


def summarize(
    *,
    model: dict[str, Any],
    data: dict[str, Any],
    metrics: dict[str, Any],
    suspicious: dict[str, Any] | None,
    point: OperatingPoint | None = None,
) -> dict[str, Any]:
    """Returns an evaluation's JSON document, with the caveats of these metrics and of the model's operating point."""
    caveats = [*split_caveats(metrics, suspicious, data["split"]), *operating_point_caveats(point)]
    return {
        "caveats": caveats,
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "data": data,
        "metrics": metrics,
        "suspicious": suspicious,
    }


def _read(subject: EvaluatedModel, data: Path, class_names: Mapping[str, str] | None) -> Dataset:
    """Reads the data set, with the names that the training gave to folders, or numbers, of the same names."""
    given = dict(class_names or {})
    chosen = {old: new for old, new in subject.class_names.items() if class_name(old) != new} | given
    if chosen.keys() == given.keys():
        return read_data(data, class_names=given, classes=subject.classes)
    any_class = tuple({*subject.classes, *given.values(), *_names_in(data)})
    there = read_data(data, class_names=given, classes=any_class, known=chosen).folder_classes
    chosen = {old: new for old, new in chosen.items() if old in there}
    return read_data(data, class_names=chosen, classes=subject.classes)


def _names_in(data: Path) -> set[str]:
    """Returns all names that a data set's class folders, or numbers, can have by the built-in rules."""
    if data.is_dir():
        return {class_name(folder.name) for folder in data.rglob("*") if folder.is_dir()}
    if data.suffix.lower() != ".npz" or not data.is_file():
        return set()  # reading it will say what is wrong
    labels = (array for name, array in read_arrays(data).items() if name.endswith("_labels"))
    return {class_name(str(label)) for array in labels for label in np.unique(array)}


def _choose(
    data: Dataset, split: EvaluatedSplit | None, subject: EvaluatedModel
) -> tuple[EvaluatedSplit, tuple[Sample, ...]]:
    """Returns the split to evaluate, and its samples; of a split that the run made, all samples of the data set."""
    is_its_own = subject.data_root == data.root.resolve()
    made = [name for name in data.to_make if is_its_own and subject.digests.get(name)]
    filled = [name for name in SPLITS if data.splits[name] or name in made]
    if split is None:
        split = "test" if "test" in filled else "valid" if "valid" in filled else "all"
    samples = data.samples if split == "all" or split in made else data.splits[split]
    if not samples:
        found = f"those of {quoted(filled)} alone" if filled else "none"
        advice = (
            "name a folder with images in class folders"
            if split == "all"
            else f"choose another --split{', or all' if data.samples else ''}"
        )
        wanted = "labelled images" if split == "all" else f"images of the split '{split}'"
        raise DataError(f"expected {wanted} in '{data.root}', found {found}; {advice}")
    return split, samples


def _rows_in(
    rows: Sequence[int], samples: Sequence[Sample], store: PixelStore, digests: frozenset[str] | None
) -> set[int]:
    known = digests or frozenset()
    return {row for row in rows if store.digests[samples[row].path] in known}


def _seen(
    rows: Sequence[int], samples: Sequence[Sample], store: PixelStore, model: EvaluatedModel
) -> dict[str, int | None]:
    """Returns how many of the rows a model was trained on, and by how many it was chosen; None where not known."""
    return {
        "trained_on": None if model.trained_on is None else len(_rows_in(rows, samples, store, model.trained_on)),
        "chosen_by": None if model.chosen_by is None else len(_rows_in(rows, samples, store, model.chosen_by)),
    }


def _model(subject: EvaluatedModel) -> dict[str, Any]:
    return {
        "name": subject.name,
        "kind": subject.kind,
        "path": str(subject.path),
        "classes": list(subject.classes),
        "synthetic": subject.synthetic,
    }


def _refuse_other_classes(subject: EvaluatedModel, other: EvaluatedModel) -> None:
    if set(other.classes) != set(subject.classes):
        raise DataError(
            f"expected a model with the classes {quoted(subject.classes)} to compare with, found one with "
            f"{quoted(other.classes)}"
        )
