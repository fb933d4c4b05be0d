"""`train` and `resume`: from a data set to a run's folder with a checkpoint, its record and its figures."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from ctonnx.artifacts.run import RUNS, Run
from ctonnx.errors import CtonnxError, DataError
from ctonnx.images import Preprocessing
from ctonnx.system.packages import versions_of
from ctonnx.system.text import Log, counted
from ctonnx_train.data.dataset import Dataset, describe
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.leakage import Leaks
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.calibration import (
    fit_operating_point,
    fit_temperature,
    negative_log_likelihood,
    positive_classes,
    suspicious_figures,
)
from ctonnx_train.evaluation.metrics import evaluate
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.inference import predict_logits
from ctonnx_train.network.pretrained import IMAGENET, NONE, load_backbone
from ctonnx_train.network.threads import computing_threads
from ctonnx_train.runs.checkpoint import save_checkpoint
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.training.loop.batches import PixelDataset
from ctonnx_train.training.loop.device import out_of_memory
from ctonnx_train.training.loop.distributed import is_main_process
from ctonnx_train.training.loop.fit import Fitted, fit, require_tensorboard
from ctonnx_train.training.preparation import Prepared, prepare
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.report import write_reports
from ctonnx_train.training.resume import (
    RunPlan,
    find_resumable_run,
    forget_plan,
    load_plan,
    load_state,
    remove_leftovers_of_runs,
    save_plan,
    tidy,
)

__all__ = ["TrainResult", "resume", "train"]

_LIBRARIES = ("ctonnx", "torch", "torchvision", "lightning", "sklearn", "numpy", "PIL")
_EVALUATED: tuple[Split, ...] = ("valid", "test")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        run: Its folder.
        record: what its run.json holds.
        leaks: The copies in the data set.
        interrupted: Whether Ctrl-C ended the training.
    """

    run: Run
    record: RunRecord
    leaks: Leaks
    interrupted: bool = False


def train(
    data: Path,
    *,
    settings: TrainSettings | None = None,
    preprocessing: Preprocessing | None = None,
    class_names: Mapping[str, str] | None = None,
    name: str | None = None,
    root: Path = RUNS,
    log: Log = lambda line: None,
) -> TrainResult:
    """Trains a classifier and writes `root/name/`.

    An error before the first epoch has ended leaves no folder behind; after that, the run can be resumed. Ctrl-C after
    an epoch keeps the best weights as a whole run, which can be resumed too. On Linux the process keeps freed memory
    for itself from then on, which makes a step on the CPU faster.

    Args:
        data: See `ctonnx_train.data.image_folder.read_data`.
        settings: The recipe's settings.
        preprocessing: The network's input.
        class_names: Canonical names for class folders, by the folder's name.
        name: of the run; None makes one from the data folder's name and the time.
        root: The folder of the runs.
        log: Called with each progress message.

    Raises:
        DataError: The data, the weights or the run's name cannot be used.
        CtonnxError: The memory or the disk is too small.
        OSError: The run's folder cannot be written.
    """
    settings = settings or TrainSettings()
    if settings.weights not in (IMAGENET, NONE):
        settings = replace(settings, weights=str(Path(settings.weights).resolve()))  # for a resume from another folder
    plan = RunPlan(
        data=data.resolve(),
        settings=settings,
        preprocessing=preprocessing or Preprocessing(),
        class_names=class_names or {},
    )
    log = _of_one_process(log)
    found = read_data(data, class_names=plan.class_names)
    positive_classes(found.classes, plan.settings.positive)
    if plan.settings.tensorboard:
        require_tensorboard()
    describe(found, log)
    if is_main_process():
        remove_leftovers_of_runs(root, log)
    pl.seed_everything(plan.settings.seed, verbose=False)
    network = CTClassifier(len(found.classes))
    if taken := load_backbone(network, plan.settings.weights):
        log(taken)
    run = _make_run(name or f"{plan.data_name}-{datetime.now():%Y%m%d-%H%M%S}", root, network)
    with _keeping_what_is_whole(run, plan, log, is_new=True), computing_threads(plan.settings.threads):
        if is_main_process():
            save_plan(run, plan)
        prepared = _prepare(found, run, plan, log)
        return _train(prepared, network, run, plan, None, log)


def resume(run: Path, *, root: Path = RUNS, log: Log = lambda line: None) -> TrainResult:
    """Goes on with a training that was killed or stopped, from the last epoch that was written.

    On a CPU, with the same versions and number of threads, the weights are bit for bit those of a training that was
    not stopped.

    Args:
        run: The run's folder, or its name below `root`.
        root: The folder of the runs.
        log: Called with each progress message.

    Raises:
        DataError: there is no such unfinished run, or its data has changed.
        ModelError: Its files are damaged.
    """
    log = _of_one_process(log)
    unfinished = find_resumable_run(run, root)
    plan = load_plan(unfinished)
    if is_main_process():
        tidy(unfinished)
        remove_leftovers_of_runs(unfinished.folder, log)
    found = read_data(plan.data, class_names=plan.class_names)
    describe(found, log)
    pl.seed_everything(plan.settings.seed, verbose=False)
    state = load_state(unfinished)
    network = CTClassifier(len(found.classes))
    if state is None:
        load_backbone(network, plan.settings.weights)
    with _keeping_what_is_whole(unfinished, plan, log, is_new=False), computing_threads(plan.settings.threads):
        prepared = _prepare(found, unfinished, plan, log)
        return _train(prepared, network, unfinished, plan, state, log)


def _prepare(found: Dataset, run: Run, plan: RunPlan, log: Log) -> Prepared:
    """Prepares a data set, and notes which images they are, or compares them with those that were noted."""
    prepared = prepare(found, plan.settings, plan.preprocessing, log)
    if plan.fingerprint and prepared.fingerprint != plan.fingerprint:
        raise DataError(
            f"expected the images that '{run.folder}' was trained on in '{plan.data}', found that they have changed "
            "since; put them back, or train anew"
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
    start = time.perf_counter()
    data, settings = prepared.data, plan.settings
    images = {
        split: PixelDataset(prepared.store, prepared.rows[split], prepared.labels(split)) for split in data.splits
    }
    labels = {split: np.array(prepared.labels(split)) for split in _EVALUATED}
    fitted = fit(
        network,
        images["train"],
        images["valid"],
        prepared.labels("train"),
        data.classes,
        settings,
        run,
        state=state,
        log=log,
    )
    if fitted.interrupted:
        log(f"stopped: keeping the best of {counted(len(fitted.history.rows), 'epoch')}")
    value = "-" if fitted.best.value is None else f"{fitted.best.value:.4f}"
    log(f"best epoch: {fitted.best.epoch} (valid {settings.monitor} {value})")
    logits = {
        split: predict_logits(network, prepared.store, prepared.rows[split], device=fitted.device)
        for split in _EVALUATED
        if len(images[split])
    }
    temperature = fit_temperature(logits["valid"], labels["valid"])
    probabilities = {
        split: softmax(values.astype(np.float64) / temperature, axis=1) for split, values in logits.items()
    }
    positive = positive_classes(data.classes, settings.positive)
    point = fit_operating_point(
        probabilities["valid"],
        labels["valid"],
        data.classes,
        positive,
        sensitivity=settings.sensitivity,
        leaked=np.array([sample in prepared.leaked_valid for sample in data.splits["valid"]]),
    )
    _say_calibration(logits["valid"], labels["valid"], temperature, log)
    if point is None:
        log("no operating point for 'suspicious': it needs images of suspicious classes and of others (--positive)")
    metrics: dict[str, Any] = {
        split: {
            **evaluate(
                values,
                labels[split].tolist(),
                data.classes,
                groups=prepared.group_numbers(split),
                seed=settings.seed,
            ),
            "suspicious": suspicious_figures(point, values, labels[split], data.classes),
        }
        for split, values in probabilities.items()
    }
    record = RunRecord(
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        classes=data.classes,
        folder_classes=data.folder_classes,
        preprocessing=plan.preprocessing,
        data={
            "folder": str(data.root.resolve()),
            "name": plan.data_name,
            "fingerprint": prepared.fingerprint,
            "images": data.counts(),
            "leaks": prepared.leaks.as_dict(),
        },
        synthetic=data.synthetic,
        settings={**asdict(settings), "positive": list(settings.positive)},  # as it will be read from the file
        training=_training(fitted, prepared, settings, time.perf_counter() - start),
        metrics=metrics,
        versions=versions_of(_LIBRARIES),
        temperature=temperature,
        operating_point=point,
    )
    if is_main_process():
        reports = partial(
            write_reports,
            run,
            record,
            splits=data.splits,
            digests=prepared.store.digests,
            probabilities=probabilities,
            history=fitted.history.rows,
        )
        record = save_checkpoint(run, network.cpu(), record, data.splits, prepared.store.digests, reports)
        if not fitted.interrupted:
            forget_plan(run)
    return TrainResult(
        run=run,
        record=record,
        leaks=prepared.leaks,
        interrupted=fitted.interrupted,
    )


def _training(fitted: Fitted, prepared: Prepared, settings: TrainSettings, seconds: float) -> dict[str, Any]:
    """Returns what run.json says of the training itself."""
    rows = fitted.history.rows
    epochs, steps = (sum(row[name] for row in rows) for name in ("seconds", "train_seconds"))
    return {
        "epochs": len(rows),
        "interrupted": fitted.interrupted,
        "best_epoch": fitted.best.epoch,
        "best_by": settings.monitor,
        "best_value": None if fitted.best.value is None else round(fitted.best.value, 6),
        "precision": fitted.precision,
        "device": fitted.device.type,
        "seconds": round(seconds, 1),
        "seconds_per_epoch": round(epochs / len(rows), 2),
        "data_share": round(sum(row["data_seconds"] for row in rows) / steps, 4) if steps else 0.0,
        "images_in_memory": prepared.store.kept,
    }


def _say_calibration(logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float, log: Log) -> None:
    before, after = (negative_log_likelihood(logits, labels, value) for value in (1.0, temperature))
    log(f"temperature {temperature:.3f}: negative log-likelihood on the validation images {before:.4f} -> {after:.4f}")


@contextmanager
def _keeping_what_is_whole(run: Run, plan: RunPlan, log: Log, *, is_new: bool) -> Iterator[None]:
    """Removes a new run that an error or Ctrl-C left without a finished epoch, and says how to go on with another."""
    try:
        yield
    except BaseException as error:
        if is_main_process():
            if run.last_file.exists():
                log(f"the epochs that were finished are kept; go on with: ctonnx train --resume {run.folder}")
            elif is_new:
                shutil.rmtree(run.folder, ignore_errors=True)
        if out_of_memory(error):
            stages = "" if plan.settings.weights == NONE else ", train fewer stages (--unfreeze-from layer4)"
            compiler = ", leave out --compile" if plan.settings.compile else ""
            raise CtonnxError(
                f"expected enough memory for batches of {plan.settings.batch_size} images of "
                f"{plan.preprocessing.size} pixels, found too little; {'' if is_new else 'train anew: '}lower "
                f"--batch-size or --image-size{stages}{compiler}, or keep fewer images in memory (--cache-gb)"
            ) from error
        raise


def _of_one_process(log: Log) -> Log:
    return log if is_main_process() else lambda line: None


def _make_run(name: str, root: Path, network: CTClassifier) -> Run:
    if not name or name.startswith(".") or Path(name).name != name:
        raise DataError(f"expected a plain folder name for the run, found '{name}'")
    run = Run(root / name)
    if not is_main_process():
        return run
    root.mkdir(parents=True, exist_ok=True)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    needed = 9 * weights  # last.ckpt holds them four times and is written beside the old one; the checkpoint once
    if (free := shutil.disk_usage(root).free) < needed:
        raise CtonnxError(
            f"expected {needed / 1e6:.0f} MB of free disk space in '{root}' for the run, found {free / 1e6:.0f} MB; "
            "make room, or work in a folder on another disk"
        )
    try:
        run.folder.mkdir()
    except FileExistsError as error:
        raise DataError(
            f"expected a new name for the run, found that '{run.folder}' exists; choose another --name"
        ) from error
    return run
