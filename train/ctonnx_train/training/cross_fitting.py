"""Cross-fitting: every image is predicted by a network that was not trained on it, and the final one learns from all.

The images of `train` and `valid` are divided into folds, patients and copies kept together. For each fold a network is
trained on the others; the next fold selects its best epoch. It then predicts the fold, which took no part in its
training or selection. On these predictions temperature, operating point, prediction sets and novelty threshold are
fitted, on many more images than a validation set has. The final network is trained on all of them, for as many epochs
as the folds' networks needed. It learns from more images than they did and tends to be the better one, so that the
fitted values err to the cautious side.

Source: Vovk 2015, https://arxiv.org/abs/1208.0806 (cross-conformal predictors: their coverage is nominal in practice,
but proven only for less); Chernozhukov et al. 2018, https://doi.org/10.1111/ectj.12097 (cross-fitting).
"""

import csv
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.system.text import Log, duration
from ctonnx_train.data.leakage import group_numbers
from ctonnx_train.data.splits import SPLITS, Sample, Split, Splits
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.inference import novelty_of, predict_features, predict_logits
from ctonnx_train.network.pretrained import load_backbone
from ctonnx_train.runs.checkpoint import Checkpoint, load_checkpoint
from ctonnx_train.runs.splits_file import read_samples
from ctonnx_train.training.loop.device import choose_device
from ctonnx_train.training.preparation import Prepared
from ctonnx_train.training.recipe import Phase, TrainSettings, plan
from ctonnx_train.training.results.out_of_fold import OutOfFold
from ctonnx_train.training.resume import RunPlan, load_state, save_plan
from ctonnx_train.training.single_run import train_network

__all__ = ["cross_fit", "divide", "final_phases"]


def cross_fit(prepared: Prepared, run: Run, plan: RunPlan, log: Log) -> tuple[Prepared, OutOfFold]:
    """Trains the folds' networks that are not trained yet, and predicts every image without its own network.

    Each fold is a run in `folds/1` and so on in the run's folder; its test images are the fold.

    Returns:
        The dataset for the final network, whose training and validation images are all those of the folds, and the
        predictions, in the order of its validation images.

    Raises:
        DataError: If a class has too few images, or too few groups of images, to be in the training of each fold.
        KeyboardInterrupt: Ctrl-C was pressed; the finished epochs and folds are kept.
    """
    samples = sorted({*prepared.data.splits["train"], *prepared.data.splits["valid"]})
    names = prepared.patients.names if prepared.patients else None
    groups = group_numbers(samples, prepared.store.digests, names)
    count = plan.settings.folds or 0
    folds = divide(samples, groups, prepared.data.classes, count, seed=plan.settings.seed)
    found: list[tuple[NDArray[np.float32], NDArray[np.float32] | None]] = []
    on_test: list[tuple[NDArray[np.float32], NDArray[np.float32] | None]] = []
    facts: list[Mapping[str, object]] = []
    histories: list[tuple[list[str], int]] = []
    start, trained = time.perf_counter(), 0
    for number, fold in enumerate(folds, start=1):
        title = f"fold {number} of {count}"
        selecting = folds[number % count]
        held_out = {*fold, *selecting}
        of_fold = _with_splits(
            prepared,
            {"train": [sample for sample in samples if sample not in held_out], "valid": selecting, "test": fold},
        )
        own = Run(run.folder / "folds" / str(number))
        _check_fold(own, of_fold.data.splits)
        if not own.has_checkpoint or own.plan_file.is_file():
            log(f"{title}: {len(of_fold.data.splits['train'])} images to train on")
            _train_fold(of_fold, own, plan, partial(_titled, log, title))
            trained += 1
            left = (time.perf_counter() - start) / trained * (count - number + 1)
            log(f"{title} is trained; about {duration(left)} left, with the final network")
        else:
            log(f"{title} was trained before")
        checkpoint = load_checkpoint(own)
        found.append(_predict(checkpoint, of_fold, of_fold.rows["test"], plan.settings))
        on_test.append(_predict(checkpoint, prepared, prepared.rows["test"], plan.settings))
        record = checkpoint.record
        facts.append(
            {
                "images": len(fold),
                "best_epoch": record.training["best_epoch"],
                "accuracy": record.metrics["test"]["accuracy"],
                "macro_auroc": record.metrics["test"]["macro"]["auroc"],
            }
        )
        histories.append((_phases_of(own), record.training["best_epoch"]))
    everything = [sample for fold in folds for sample in fold]
    novelty, test_novelty = ([values for _, values in of if values is not None] for of in (found, on_test))
    return _with_splits(
        prepared, {"train": samples, "valid": everything, "test": prepared.data.splits["test"]}
    ), OutOfFold(
        logits=np.concatenate([logits for logits, _ in found]),
        novelty=np.concatenate(novelty) if len(novelty) == count else None,
        phases=final_phases(plan.settings, histories),
        folds=tuple(facts),
        monitored=len(folds[0]),
        test_logits=np.stack([logits for logits, _ in on_test]),
        test_novelty=np.stack(test_novelty) if len(test_novelty) == count else None,
    )


def divide(
    samples: Sequence[Sample], groups: Mapping[str, int], classes: Sequence[str], folds: int, *, seed: int
) -> list[list[Sample]]:
    """Divides samples into folds of about equal size and classes; the samples of a group are in one fold.

    Args:
        samples: Samples in any order.
        groups: Number of each sample's group, by path.
        classes: Names of the classes.
        folds: Number of folds, 3 or more: one to predict, one to select the epoch, the others to train on.
        seed: Random seed.

    Raises:
        DataError: If a class would be missing among the training images of a fold.
    """
    labels = np.array([sample.label for sample in samples])
    numbers = np.array([groups[sample.path] for sample in samples])
    for label, name in enumerate(classes):
        if (available := len({*numbers[labels == label].tolist()})) < folds:
            raise DataError(
                f"expected images of '{name}' from at least {folds} patients (or {folds} images that are not copies) "
                f"for --folds {folds}, found {available}; lower --folds (3 or more), or add images"
            )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    rows = [inside for _, inside in splitter.split(np.zeros(len(samples)), labels, numbers)]
    for number, inside in enumerate(rows):
        held_out = {*inside.tolist(), *rows[(number + 1) % folds].tolist()}
        left = {label for row, label in enumerate(labels.tolist()) if row not in held_out}
        if missing := [name for label, name in enumerate(classes) if label not in left]:
            raise DataError(
                f"expected images of every class to train on in each of {folds} folds, found none of '{missing[0]}' in "
                "one, as its images are of few patients; choose another --seed, or other --folds"
            )
    return [[samples[row] for row in inside] for inside in rows]


def final_phases(settings: TrainSettings, histories: Sequence[tuple[Sequence[str], int]]) -> tuple[Phase, ...]:
    """Returns the phases of the final network's training, which no validation images end.

    A one-cycle schedule runs to its end. Of any other phase, the number of epochs is the median, over the folds, of
    those up to the best one.

    Args:
        settings: Settings of the training.
        histories: Phase of each epoch, by name, and number of the best epoch, from 1, of each fold.
    """
    phases = []
    for phase in plan(settings):
        epochs = phase.epochs
        if phase.schedule != "one-cycle":
            epochs = round(statistics.median(names[:best].count(phase.name) for names, best in histories))
        if epochs:
            phases.append(replace(phase, epochs=epochs, patience=None))
    return tuple(phases)


def _check_fold(own: Run, splits: Splits) -> None:
    """Raises DataError if the fold's network was trained on other images, as after a change of the patients."""
    if own.has_checkpoint and any(read_samples(own, split) != tuple(splits[split]) for split in SPLITS):
        raise DataError(
            f"expected the fold of '{own.folder}' to have the images that its network was trained on, found others: "
            "the patients, or copies of images, have changed since; restore the data, or train again under another name"
        )


def _train_fold(prepared: Prepared, own: Run, plan: RunPlan, log: Log) -> None:
    """Trains the network of a fold, or resumes its training; raises KeyboardInterrupt on Ctrl-C."""
    own.folder.mkdir(parents=True, exist_ok=True)
    state = load_state(own) if own.plan_file.is_file() else None
    save_plan(own, replace(plan, fingerprint=prepared.fingerprint))
    pl.seed_everything(plan.settings.seed, verbose=False)
    network = CTClassifier(len(prepared.data.classes))
    if state is None:
        load_backbone(network, plan.settings.weights)
    if train_network(prepared, network, own, plan, state, log).interrupted:
        raise KeyboardInterrupt


def _predict(
    checkpoint: Checkpoint, prepared: Prepared, rows: Sequence[int], settings: TrainSettings
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Returns the logits and the novelty of images by a fold's network."""
    device: torch.device = choose_device(settings)[0]
    if not rows:
        none = np.zeros((0, len(checkpoint.record.classes)), np.float32)
        return none, None if checkpoint.novelty is None else none[:, 0]
    logits = predict_logits(checkpoint.network, prepared.store, rows, device=device)
    if checkpoint.novelty is None:
        return logits, None
    features = predict_features(checkpoint.network, prepared.store, rows, device=device)
    return logits, novelty_of(checkpoint.novelty, features, prepared.store, rows)


def _with_splits(prepared: Prepared, splits: Mapping[Split, Sequence[Sample]]) -> Prepared:
    """Returns the dataset with other splits, between which nothing leaks."""
    row = {
        sample.path: position
        for split in prepared.rows
        for sample, position in zip(prepared.data.splits[split], prepared.rows[split], strict=True)
    }
    return replace(
        prepared,
        data=replace(prepared.data, splits={split: tuple(samples) for split, samples in splits.items()}),
        rows={split: [row[sample.path] for sample in samples] for split, samples in splits.items()},
        leaked_valid=frozenset(),
    )


def _phases_of(run: Run) -> list[str]:
    """Returns the name of the phase of each epoch."""
    with run.metrics_file.open(encoding="utf-8", newline="") as file:
        return [row["phase"] for row in csv.DictReader(file)]


def _titled(log: Log, title: str, line: str) -> None:
    log(f"{title}: {line}")
