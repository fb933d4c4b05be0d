"""`evaluate_model`: a model's figures on labelled images, with what must be known to believe them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.errors import DataError
from ctonnx_train.calibration import suspicious_figures
from ctonnx_train.classes import class_name
from ctonnx_train.comparison import compare_answers
from ctonnx_train.data_set import DataSet, quoted
from ctonnx_train.duplicates import group_names
from ctonnx_train.folders import read_data
from ctonnx_train.metrics import REPLICATES, evaluate
from ctonnx_train.pixels import PixelStore
from ctonnx_train.sources import open_source, read_arrays
from ctonnx_train.splits import SPLITS, Sample
from ctonnx_train.subjects import Subject

__all__ = ["SCHEMA_VERSION", "EvaluatedSplit", "Evaluation", "evaluate_model", "summarize"]

SCHEMA_VERSION = 1
"""Of the evaluation's JSON document."""

EvaluatedSplit: TypeAlias = Literal["train", "valid", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of an evaluation.

    Attributes:
        document: JSON-ready: `schema_version`, `model`, `data`, `metrics`, `suspicious` and, where two models were
            compared, `comparison`.
        probabilities: [images, classes].
        labels: class index of each image.
    """

    document: dict[str, Any]
    probabilities: NDArray[np.floating[Any]]
    labels: NDArray[np.int64]


def evaluate_model(
    subject: Subject,
    data: Path,
    *,
    split: EvaluatedSplit | None = None,
    other: Subject | None = None,
    class_names: Mapping[str, str] | None = None,
    group_regex: str | None = None,
    drop_leaks: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Evaluates a model, and compares it with another one where that is asked for.

    Args:
        subject: from `ctonnx_train.subjects.open_subject`.
        data: see `ctonnx_train.folders.read_data`; classes may lack.
        split: which of its splits; None takes `test`, else `valid`, else all images.
        other: with the same classes, in whatever order.
        class_names: canonical names for class folders, by the folder's name, beside those that the training knew.
        group_regex: names the groups of images that the bootstrap resamples as a whole; see
            `ctonnx_train.duplicates.group_names`.
        drop_leaks: whether images that the model was trained on are left out.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        say: called with lines that tell what happens.

    Raises:
        DataError: the data set lacks the split, or has classes that the model does not know; no image is left, or
            what the model was trained on is not known where it is to be left out; `other` has other classes.
    """
    if other is not None:
        _refuse_other_classes(subject, other)
    if drop_leaks and subject.trained_on is None:
        raise DataError(
            f"expected to know which images '{subject.path}' was trained on, for --drop-leaks, found no run with their "
            "digests beside it; evaluate its run, or leave out --drop-leaks"
        )
    found = _read(subject, data, class_names)
    split, samples = _choose(found, split)
    say(f"{subject.kind} '{subject.name}' on {len(samples)} images ({split}) of {data}")
    source = open_source(found.root)
    with tqdm(total=len(samples), desc="reading images", unit="image", leave=False, disable=None) as bar:
        store = PixelStore(source, samples, subject.preprocessing, progress=bar.update)
    trained_on = _rows_in(samples, store, subject.trained_on)
    rows = [row for row in range(len(samples)) if not (drop_leaks and row in trained_on)]
    if not rows:
        raise DataError(f"expected images in '{data}' that the model was not trained on, found none")
    seen = {
        "trained_on": None if subject.trained_on is None else len(trained_on),
        "chosen_by": None if subject.chosen_by is None else len(_rows_in(samples, store, subject.chosen_by)),
        "dropped": len(samples) - len(rows),
    }
    if trained_on:
        what = "left out" if drop_leaks else "the figures flatter; --drop-leaks leaves them out"
        say(
            f"warning: {len(trained_on)} of the {len(samples)} images are among those that the model was trained on: "
            f"{what}"
        )

    labels = np.array([samples[row].label for row in rows])
    probabilities = subject.probabilities(store, rows)
    groups = None
    if group_regex is not None:
        names = group_names(samples, group_regex)
        numbers = {
            name: number for number, name in enumerate(dict.fromkeys(names.get(s.path, s.path) for s in samples))
        }
        groups = [numbers[names.get(samples[row].path, samples[row].path)] for row in rows]
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
    )
    if other is not None:
        document["comparison"] = _compare(subject, other, probabilities, labels, samples, rows, found)
    return Evaluation(document=document, probabilities=probabilities, labels=labels)


def summarize(
    *, model: dict[str, Any], data: dict[str, Any], metrics: dict[str, Any], suspicious: dict[str, Any] | None
) -> dict[str, Any]:
    """Returns an evaluation's JSON document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "data": data,
        "metrics": metrics,
        "suspicious": suspicious,
    }


def _read(subject: Subject, data: Path, class_names: Mapping[str, str] | None) -> DataSet:
    """Reads the data set, with the names that the training gave to folders, or numbers, of the same names."""
    given = dict(class_names or {})
    chosen = {old: new for old, new in subject.class_names.items() if class_name(old) != new} | given
    if chosen.keys() == given.keys():
        return read_data(data, class_names=given, classes=subject.classes)
    any_class = tuple({*subject.classes, *given.values(), *_names_in(data)})
    there = read_data(data, class_names=given, classes=any_class).folder_classes
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


def _choose(data: DataSet, split: EvaluatedSplit | None) -> tuple[EvaluatedSplit, tuple[Sample, ...]]:
    """Returns the split to evaluate, and its samples."""
    filled = [name for name in SPLITS if data.splits[name]]
    if split is None:
        split = "test" if "test" in filled else "valid" if "valid" in filled else "all"
    samples = data.samples if split == "all" else data.splits[split]
    if not samples:
        raise DataError(
            f"expected images of the split '{split}' in '{data.root}', found "
            f"{f'those of {quoted(filled)} alone' if filled else 'none'}; choose another --split, or all"
        )
    return split, samples


def _rows_in(samples: Sequence[Sample], store: PixelStore, digests: frozenset[str] | None) -> set[int]:
    known = digests or frozenset()
    return {row for row, sample in enumerate(samples) if store.digests[sample.path] in known}


def _model(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.name,
        "kind": subject.kind,
        "path": str(subject.path),
        "classes": list(subject.classes),
        "synthetic": subject.synthetic,
    }


def _refuse_other_classes(subject: Subject, other: Subject) -> None:
    if set(other.classes) != set(subject.classes):
        raise DataError(
            f"expected a model with the classes {quoted(subject.classes)} to compare with, found one with "
            f"{quoted(other.classes)}"
        )


def _compare(
    subject: Subject,
    other: Subject,
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    samples: Sequence[Sample],
    rows: Sequence[int],
    found: DataSet,
) -> dict[str, Any]:
    store = PixelStore(open_source(found.root), samples, other.preprocessing)
    order = [other.classes.index(name) for name in subject.classes]
    answers = other.probabilities(store, rows)[:, order]
    return {
        "other": _model(other),
        **compare_answers(probabilities, answers, labels),
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "other_accuracy": float((answers.argmax(axis=1) == labels).mean()),
    }
