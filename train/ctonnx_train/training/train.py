"""`train` and `resume`: from a dataset to a run's folder with a checkpoint, its record and its metrics."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from ctonnx.artifacts.run import RUNS, Run
from ctonnx.errors import CtonnxError, DataError
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import NEW_MODELS
from ctonnx.system.text import Log, counted
from ctonnx_train.data.dataset import Dataset, describe
from ctonnx_train.data.layouts.image_folder import read_data
from ctonnx_train.data.leakage import Leaks
from ctonnx_train.evaluation.fitting.threshold import positive_classes
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.pretrained import IMAGENET, NONE, load_backbone
from ctonnx_train.network.threads import computing_threads
from ctonnx_train.runs.checkpoint import STAGED, save_checkpoint
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.training.loop.batches import PixelDataset
from ctonnx_train.training.loop.device import out_of_memory
from ctonnx_train.training.loop.distributed import is_main_process
from ctonnx_train.training.loop.fit import fit, require_tensorboard
from ctonnx_train.training.novelty import fit_novelty
from ctonnx_train.training.preparation import Prepared, prepare
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.results.report import write_reports
from ctonnx_train.training.results.run_record import calibrate, make_record
from ctonnx_train.training.resume import (
    RunPlan,
    find_resumable_run,
    forget_plan,
    load_plan,
    load_state,
    remove_leftovers_of_runs,
    save_plan,
)

__all__ = ["TrainResult", "resume", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Result of a training, perhaps `interrupted` by Ctrl-C: the run, its run.json, and the copies in the dataset."""

    run: Run
    record: RunRecord
    leaks: Leaks
    interrupted: bool = False


def train(
    data: Path,
    *,
    found: Dataset | None = None,
    settings: TrainSettings | None = None,
    preprocessing: Preprocessing | None = None,
    class_names: Mapping[str, str] | None = None,
    name: str | None = None,
    root: Path = RUNS,
    log: Log = lambda line: None,
) -> TrainResult:
    """Trains a classifier and writes `root/name/`.

    An error during the first epoch leaves no folder behind; later, the run can be resumed. Ctrl-C after the first epoch
    keeps the best weights as a complete run, which can be resumed, too. On Linux, the process keeps freed memory from
    then on, which makes training steps on the CPU faster.

    Args:
        data: Dataset; see `ctonnx_train.data.layouts.image_folder.read_data`.
        found: Result of `read_data` for `data` and `class_names`, if it has been called already.
        settings: Settings of the recipe.
        preprocessing: Preprocessing of the network's input.
        class_names: Canonical names for class folders, by the folder's name.
        name: Name of the run; None combines the data folder's name and the time.
        root: Folder of the runs.
        log: Called with each progress message.

    Raises:
        DataError: If the data, the weights or the run's name cannot be used.
        CtonnxError: If there is too little memory or disk space.
        OSError: If the run's folder cannot be written.
    """
    settings = settings or TrainSettings()
    if settings.weights not in (IMAGENET, NONE):
        settings = replace(settings, weights=str(Path(settings.weights).resolve()))  # for a resume from another folder
    plan = RunPlan(
        data=data.resolve(),
        settings=settings,
        preprocessing=preprocessing or NEW_MODELS,
        class_names=class_names or {},
    )
    log = _main_process_only(log)
    found = found or read_data(data, class_names=plan.class_names)
    positive = positive_classes(found.classes, plan.settings.positive)
    if plan.settings.aggregate in ("max", "top-k") and not positive:
        raise DataError(
            f"expected suspicious classes for --aggregate {plan.settings.aggregate}, found none of "
            f"{', '.join(found.classes)}; name them: --positive"
        )
    if plan.settings.tensorboard:
        require_tensorboard()
    describe(found, log)
    if is_main_process():
        remove_leftovers_of_runs(root, log)
    pl.seed_everything(plan.settings.seed, verbose=False)
    network = CTClassifier(len(found.classes))
    if loaded := load_backbone(network, plan.settings.weights):
        log(loaded)
    run = _make_run(name or f"{plan.data_name}-{datetime.now():%Y%m%d-%H%M%S}", root, network)
    with _keeping_finished_epochs(run, plan, log, is_new=True), computing_threads(plan.settings.threads):
        if is_main_process():
            save_plan(run, plan)
        prepared = _prepare(found, run, plan, log)
        return _train(prepared, network, run, plan, None, log)


def resume(run: Path, *, root: Path = RUNS, log: Log = lambda line: None) -> TrainResult:
    """Resumes a training that was killed or stopped, from the last epoch that was written.

    The run is its folder, or its name below `root`. On a CPU, with the same versions and number of threads, the weights
    are bit for bit those of an uninterrupted training.

    Raises:
        DataError: If there is no such unfinished run, or its data has changed.
        ModelError: If its files are damaged.
    """
    log = _main_process_only(log)
    unfinished = find_resumable_run(run, root)
    plan = load_plan(unfinished)
    if is_main_process():
        shutil.rmtree(unfinished.folder / STAGED, ignore_errors=True)  # of a process killed while it wrote
        remove_leftovers_of_runs(unfinished.folder, log)
    found = read_data(plan.data, class_names=plan.class_names)
    describe(found, log)
    pl.seed_everything(plan.settings.seed, verbose=False)
    state = load_state(unfinished)
    network = CTClassifier(len(found.classes))
    if state is None:
        load_backbone(network, plan.settings.weights)
    with _keeping_finished_epochs(unfinished, plan, log, is_new=False), computing_threads(plan.settings.threads):
        prepared = _prepare(found, unfinished, plan, log)
        return _train(prepared, network, unfinished, plan, state, log)


def _prepare(found: Dataset, run: Run, plan: RunPlan, log: Log) -> Prepared:
    """Prepares a dataset, and records its fingerprint or compares it with the recorded one."""
    prepared = prepare(found, plan.settings, plan.preprocessing, log)
    if prepared.patients is None and (plan.settings.aggregate != "auto" or plan.settings.top_k is not None):
        raise DataError(
            "expected the patients of the images for --aggregate and --top-k, found none; name them: --group-regex"
        )
    if plan.fingerprint and prepared.fingerprint != plan.fingerprint:
        raise DataError(
            f"expected the images that '{run.folder}' was trained on in '{plan.data}', found that they have changed "
            "since; restore them, or train again"
        )
    if is_main_process():
        save_plan(run, replace(plan, fingerprint=prepared.fingerprint))
    return prepared


def _train(
    prepared: Prepared,
    network: CTClassifier,
    run: Run,
    plan: RunPlan,
    state: Mapping[str, Any] | None,
    log: Log,
) -> TrainResult:
    """Fits, calibrates and evaluates the network, and writes the run's folder."""
    start = time.perf_counter()
    data, settings = prepared.data, plan.settings
    rows, labels = prepared.rows, prepared.labels("train")
    images = PixelDataset(prepared.store, rows["train"], labels)
    valid_images = PixelDataset(prepared.store, rows["valid"], prepared.labels("valid"))
    fitted = fit(network, images, valid_images, labels, data.classes, settings, run, state=state, log=log)
    if fitted.interrupted:
        log(f"stopped: keeping the best of {counted(len(fitted.history.rows), 'epoch')}")
    value = "-" if fitted.best.value is None else f"{fitted.best.value:.4f}"
    log(f"best epoch: {fitted.best.epoch} (valid {settings.monitor} {value})")
    calibrated = calibrate(network, fitted, prepared, settings, log)
    found = fit_novelty(network, fitted, prepared, settings, log) if is_main_process() else None
    record = make_record(fitted, calibrated, prepared, plan, start, novelty=found)
    if is_main_process():
        reports = partial(
            write_reports,
            run,
            record,
            splits=data.splits,
            digests=prepared.store.digests,
            probabilities=calibrated.probabilities,
            history=fitted.history.rows,
        )
        distance = found.distance if found else None
        record = save_checkpoint(
            run, network.cpu(), record, data.splits, prepared.store.digests, reports, novelty=distance
        )
        if not fitted.interrupted:
            forget_plan(run)
    return TrainResult(run=run, record=record, leaks=prepared.leaks, interrupted=fitted.interrupted)


@contextmanager
def _keeping_finished_epochs(run: Run, plan: RunPlan, log: Log, *, is_new: bool) -> Iterator[None]:
    """On an error or Ctrl-C, removes a new run without a finished epoch, and logs how to resume any other."""
    try:
        yield
    except BaseException as error:
        if is_main_process():
            if run.last_file.exists():
                log(f"the finished epochs are kept; resume with: ctonnx train --resume {run.folder}")
            elif is_new:
                shutil.rmtree(run.folder, ignore_errors=True)
        if out_of_memory(error):
            stages = "" if plan.settings.weights == NONE else ", train fewer stages (--unfreeze-from layer4)"
            compiler = ", leave out --compile" if plan.settings.compile else ""
            raise CtonnxError(
                f"expected enough memory for batches of {plan.settings.batch_size} images of "
                f"{plan.preprocessing.size} pixels, found too little; {'' if is_new else 'train again: '}lower "
                f"--batch-size or --image-size{stages}{compiler}, or keep fewer images in memory (--cache-gb)"
            ) from error
        raise


def _main_process_only(log: Log) -> Log:
    return log if is_main_process() else lambda line: None


def _make_run(name: str, root: Path, network: CTClassifier) -> Run:
    if not name or name.startswith(".") or Path(name).name != name:
        raise DataError(f"expected a plain folder name for the run, found '{name}'")
    run = Run(root / name)
    if not is_main_process():
        return run
    root.mkdir(parents=True, exist_ok=True)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    needed = 9 * weights  # four times each in last.ckpt and its predecessor, and once in the checkpoint
    if (free := shutil.disk_usage(root).free) < needed:
        raise CtonnxError(
            f"expected {needed / 1e6:.0f} MB of free disk space in '{root}' for the run, found {free / 1e6:.0f} MB; "
            "free some space, or work in a folder on another disk"
        )
    try:
        run.folder.mkdir()
    except FileExistsError as error:
        raise DataError(
            f"expected a new name for the run, found that '{run.folder}' exists; choose another --name"
        ) from error
    return run
