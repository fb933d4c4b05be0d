"""`compress` and `resume`: from a trained run to one with a part of its multiplications."""

import copy
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.run import RUNS, Run
from ctonnx.errors import CheckFailed, DataError, ModelError
from ctonnx.parity.rounding import rounded_up
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.system.files import write_text
from ctonnx.system.text import Log
from ctonnx_compress.distillation import DistillationTask, phases
from ctonnx_compress.gate import GATED, Comparison, Deployed, compare_with_parent, gate_of
from ctonnx_compress.operations import count_operations, operations_text
from ctonnx_compress.pruning import least_operations, prune, widths
from ctonnx_compress.report import as_markdown, summary
from ctonnx_compress.settings import CompressSettings
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.splits import Split
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.threads import computing_threads
from ctonnx_train.runs.checkpoint import STAGED, Checkpoint, load_checkpoint
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.training.loop.batches import PixelDataset
from ctonnx_train.training.loop.device import choose_device
from ctonnx_train.training.loop.fit import fit
from ctonnx_train.training.preparation import Prepared
from ctonnx_train.training.recipe import Phase, TrainSettings, complete_settings
from ctonnx_train.training.results.novelty import FittedNovelty
from ctonnx_train.training.resume import (
    RunPlan,
    find_resumable_run,
    load_plan,
    load_state,
    remove_leftovers_of_runs,
    save_plan,
)
from ctonnx_train.training.single_run import finish_run
from ctonnx_train.training.train import keeping_finished_epochs, make_run, prepare_run

__all__ = ["REPORT", "CompressResult", "compress", "resume"]

REPORT = "compression.md"
"""Report in the run's folder."""

_IMPORTANCE_IMAGES = 128  # training images on which the importance of channels is estimated
_IMPORTANCE_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class CompressResult:
    """A compressed run, its record, and its comparison with the parent on each split."""

    run: Run
    record: RunRecord
    comparisons: Mapping[Split, Comparison]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """`compression` in plan.json: the parent's folder, the hash of its weights, and the settings."""

    parent: str
    weights_sha256: str
    settings: CompressSettings


def compress(
    parent: Run,
    *,
    settings: CompressSettings | None = None,
    data: Path | None = None,
    labels: Path | None = None,
    threads: int | None = None,
    name: str | None = None,
    root: Path = RUNS,
    log: Log = lambda line: None,
) -> CompressResult:
    """Compresses a run and writes `root/name/`, a run like any other, if it passes its gate; else nothing is kept.

    In each step, channels are removed and the network is trained on the outputs of the parent's; then all values that
    decide are fitted as in a training. An interrupted compression can be resumed from its last epoch.

    Args:
        parent: Run to compress.
        settings: Settings of the compression.
        data: Dataset of the run; None is its location at training.
        labels: Labels file of the images, if the run was trained with one; None looks for it in the dataset's folder.
        threads: Number of threads; see `ctonnx_train.network.threads.computing_threads`.
        name: Name of the run; None adds the share of the multiplications to the parent's name.
        root: Folder of the runs.
        log: Called with each progress message.

    Raises:
        CheckFailed: If the compressed network does not agree with its parent.
        DataError: If the run cannot be compressed, or its images are missing or have changed.
        ModelError: If the run's files are damaged.
        OSError: If the run's folder cannot be written.
    """
    settings = settings or CompressSettings()
    checkpoint = load_checkpoint(parent)
    record = checkpoint.record
    if record.data.get("folds"):
        raise DataError(
            f"expected a run with validation images that it was not trained on, found '{parent.folder}' in folds, "
            "whose network was trained on all of them; compress a run that was trained without --folds"
        )
    size = record.preprocessing.size
    least = least_operations(copy.deepcopy(checkpoint.network), size) / count_operations(checkpoint.network, size)
    if settings.operations < least:
        raise DataError(
            f"expected --operations of {math.ceil(1000 * least) / 1000:g} or more for '{parent.folder}', found "
            f"{settings.operations:g}: with fewer, a layer would have less than a quarter of its channels, or than 16"
        )
    location = data or Path(record.data["folder"])
    name_of_labels = record.data.get("labels")
    if labels is None and name_of_labels:
        labels = location / name_of_labels
    plan = RunPlan(
        data=location.resolve(),
        settings=_train_settings(record, settings, threads),
        preprocessing=record.preprocessing,
        class_names=record.folder_classes,
        fingerprint=record.data["fingerprint"],
        labels=labels.resolve() if labels else None,
        compression=asdict(
            _Plan(parent=str(parent.folder.resolve()), weights_sha256=checkpoint.sha256, settings=settings)
        ),
    )
    remove_leftovers_of_runs(root, log)
    run = make_run(name or f"{parent.name}-operations-{settings.operations:g}", root, checkpoint.network, None)
    return _compress(run, plan, checkpoint, settings, None, log, is_new=True)


def resume(run: Path, *, root: Path = RUNS, log: Log = lambda line: None) -> CompressResult:
    """Resumes a compression that was killed or stopped, from the last epoch that was written.

    Raises:
        CheckFailed: If the compressed network does not agree with its parent.
        DataError: If there is no such unfinished run, or its data or its parent has changed.
        ModelError: If its files are damaged.
    """
    unfinished = find_resumable_run(run, root)
    plan = load_plan(unfinished)
    if plan.compression is None:
        raise DataError(
            f"expected a run of ctonnx compress, found a training in '{unfinished.folder}'; resume it with: ctonnx "
            f"train --resume {unfinished.folder}"
        )
    try:
        compression = json_schema.read(_Plan, plan.compression)
    except ValueError as error:
        raise ModelError(
            f"expected the settings of the compression in '{unfinished.plan_file}', found something else ({error}); "
            "compress again"
        ) from error
    checkpoint = load_checkpoint(Run(Path(compression.parent)))
    if checkpoint.sha256 != compression.weights_sha256:
        raise DataError(
            f"expected the weights in '{compression.parent}' that the compression started from, found others; compress "
            "again"
        )
    shutil.rmtree(unfinished.folder / STAGED, ignore_errors=True)  # of a process killed while it wrote
    remove_leftovers_of_runs(unfinished.folder, log)
    return _compress(unfinished, plan, checkpoint, compression.settings, load_state(unfinished), log, is_new=False)


def _train_settings(record: RunRecord, settings: CompressSettings, threads: int | None) -> TrainSettings:
    """Returns the settings of the parent's training, for one process and without early stopping."""
    known = {field.name for field in fields(TrainSettings)}
    values = {name: value for name, value in complete_settings(dict(record.settings)).items() if name in known}
    values["positive"] = tuple(values.get("positive", ()))
    own: dict[str, Any] = {"epochs": settings.epochs, "devices": 1, "nodes": 1, "compile": False, "tensorboard": False}
    own["imbalance"] = "none"  # labels have no part in the loss
    if values.get("precision") != "fp32":
        own["precision"] = "auto"  # the parent's may be one that only its device has
    if settings.batch_size is not None:
        own["batch_size"] = settings.batch_size
    try:
        return TrainSettings(**{**values, **own, "folds": None, "threads": threads})
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"expected the settings of a training in the run's record, found others ({error}); train again"
        ) from error


def _compress(
    run: Run,
    plan: RunPlan,
    checkpoint: Checkpoint,
    settings: CompressSettings,
    state: Mapping[str, Any] | None,
    log: Log,
    *,
    is_new: bool,
) -> CompressResult:
    start = time.perf_counter()
    pl.seed_everything(plan.settings.seed, verbose=False)
    original = checkpoint.network
    network = copy.deepcopy(original)
    if state is not None:
        network.fit_widths({name.removeprefix("network."): value for name, value in state["state_dict"].items()})
    keeping = keeping_finished_epochs(run, plan, log, is_new=is_new, command="ctonnx compress")
    with keeping, computing_threads(plan.settings.threads):
        save_plan(run, plan)
        key = checkpoint.run.patients_key_file
        pseudonyms = Pseudonyms.load(key) if key.exists() else None
        found = read_data(plan.data, class_names=plan.class_names, labels=plan.labels, pseudonyms=pseudonyms)
        prepared = prepare_run(found, run, plan, log)
        images = PixelDataset(prepared.store, prepared.rows["train"], prepared.labels("train"))
        size = plan.preprocessing.size
        all_operations = count_operations(original, size)

        def remove_channels(phase: Phase) -> None:
            device, _ = choose_device(plan.settings)
            log(f"{phase.name} of {settings.steps}: looking for the least important channels")
            prune(
                network.to(device),
                _importance_batches(images, plan.settings.seed, device),
                operations=int(all_operations * settings.shares[phase.number - 1]),
                size=size,
                parent=widths(original),
            )
            left = count_operations(network, size)
            log(
                f"{phase.name} of {settings.steps}: {operations_text(left)} of {operations_text(all_operations)} "
                f"multiplications for an image ({left / all_operations:.1%})"
            )

        fitted = fit(
            network,
            images,
            PixelDataset(prepared.store, prepared.rows["valid"], prepared.labels("valid")),
            prepared.labels("train"),
            prepared.data.classes,
            plan.settings,
            run,
            state=state,
            phases=phases(settings, _augmentation(plan.settings)),
            make_task=partial(DistillationTask, original=original),
            before_phase=remove_channels,
            log=log,
        )
        if fitted.interrupted:  # with more multiplications than asked for, or not trained to the end
            raise KeyboardInterrupt
        comparisons: dict[Split, Comparison] = {}

        def check(record: RunRecord, novelty: FittedNovelty | None) -> RunRecord:
            log("comparing with the original")
            comparisons.update(_compare(checkpoint, network, record, novelty, prepared))
            for split, found in comparisons.items():
                log(summary(split, found, settings))
            left = count_operations(network, size)
            failures = comparisons[GATED].failures(gate_of(settings))
            if left > settings.operations * all_operations or fitted.best.epoch < len(fitted.history.rows):
                failures = (*failures, "the last epochs have no finite validation loss")
            if failures:
                run.last_file.unlink(missing_ok=True)
                shutil.rmtree(run.folder)
                raise CheckFailed(
                    f"the compressed network does not agree with '{checkpoint.run.folder}' on "
                    f"{comparisons[GATED].parity.images} validation images: {'; '.join(failures)}. Nothing was kept. "
                    "Leave more --operations, train more --epochs, or allow it: --min-agreement, --max-drop"
                )
            return replace(
                record,
                parent={
                    "name": checkpoint.run.name,
                    "weights_sha256": checkpoint.sha256,
                    "operations": rounded_up(left / all_operations, 6),
                    "multiplications": left,
                    "original_multiplications": all_operations,
                    "settings": asdict(settings),
                    "comparison": {split: found.as_dict() for split, found in comparisons.items()},
                },
            )

        def write_report(folder: Path, record: RunRecord) -> None:
            before, after = widths(original), widths(network)
            layers = {name.removeprefix("backbone."): (before[name], after[name]) for name in before}
            text = as_markdown(run.name, record.parent or {}, comparisons, settings, layers)
            write_text(folder / REPORT, text)

        result = finish_run(prepared, network, fitted, run, plan, start, log, check=check, write_more=write_report)
    return CompressResult(run=run, record=result.record, comparisons=comparisons)


def _augmentation(settings: TrainSettings) -> float:
    """Returns the strength of the parent's augmentation: from scratch, half of the other's."""
    from ctonnx_train.training.recipe import plan

    return plan(settings)[-1].augmentation


def _importance_batches(images: PixelDataset, seed: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields training images, chosen at random, and their labels."""
    chosen = np.random.default_rng(seed).permutation(len(images))[:_IMPORTANCE_IMAGES]
    for start in range(0, len(chosen), _IMPORTANCE_BATCH):
        pixels, labels = images.__getitems__(chosen[start : start + _IMPORTANCE_BATCH].tolist())
        yield pixels.to(device).float(), labels.to(device)


def _compare(
    parent: Checkpoint,
    network: CTClassifier,
    record: RunRecord,
    novelty: FittedNovelty | None,
    prepared: Prepared,
) -> dict[Split, Comparison]:
    return compare_with_parent(
        Deployed(DeployGraph(parent.network.cpu(), parent.record.temperature, parent.novelty), parent.record),
        Deployed(DeployGraph(network.cpu(), record.temperature, novelty.distance if novelty else None), record),
        prepared,
    )
