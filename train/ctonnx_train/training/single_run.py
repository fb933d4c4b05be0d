"""Training of one network on prepared images, and the files of its run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ctonnx.artifacts.run import Run
from ctonnx.system.text import Log, counted
from ctonnx_train.data.leakage import Leaks
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.runs.checkpoint import save_checkpoint
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.training.loop.batches import PixelDataset
from ctonnx_train.training.loop.distributed import is_main_process
from ctonnx_train.training.loop.fit import Fitted, fit
from ctonnx_train.training.preparation import Prepared
from ctonnx_train.training.results.novelty import FittedNovelty, fit_novelty
from ctonnx_train.training.results.out_of_fold import OutOfFold
from ctonnx_train.training.results.report import write_reports
from ctonnx_train.training.results.run_record import calibrate, make_record
from ctonnx_train.training.resume import RunPlan, forget_plan

__all__ = ["TrainResult", "finish_run", "train_network"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Result of a training, perhaps `interrupted` by Ctrl-C: the run, its run.json, and the copies in the dataset."""

    run: Run
    record: RunRecord
    leaks: Leaks
    interrupted: bool = False


def train_network(
    prepared: Prepared,
    network: CTClassifier,
    run: Run,
    plan: RunPlan,
    state: Mapping[str, Any] | None,
    log: Log,
    *,
    out_of_fold: OutOfFold | None = None,
) -> TrainResult:
    """Fits, calibrates and evaluates the network, and writes the run's folder.

    With `out_of_fold`, the validation images are among the training images: the last epoch is kept instead of the best,
    and all values are fitted on these predictions instead of the network's own.
    """
    start = time.perf_counter()
    data, settings = prepared.data, plan.settings
    rows, labels = prepared.rows, prepared.labels("train")
    images = PixelDataset(prepared.store, rows["train"], labels)
    shown = slice(out_of_fold.monitored if out_of_fold else None)
    valid_images = PixelDataset(prepared.store, rows["valid"][shown], prepared.labels("valid")[shown])
    phases = out_of_fold.phases if out_of_fold else None
    fitted = fit(
        network, images, valid_images, labels, data.classes, settings, run, state=state, phases=phases, log=log
    )
    return finish_run(prepared, network, fitted, run, plan, start, log, out_of_fold=out_of_fold)


def finish_run(
    prepared: Prepared,
    network: CTClassifier,
    fitted: Fitted,
    run: Run,
    plan: RunPlan,
    start: float,
    log: Log,
    *,
    out_of_fold: OutOfFold | None = None,
    check: Callable[[RunRecord, FittedNovelty | None], RunRecord] = lambda record, novelty: record,
    write_more: Callable[[Path, RunRecord], None] = lambda folder, record: None,
) -> TrainResult:
    """Calibrates and evaluates a fitted network, and writes the run's folder; `start` is from `time.perf_counter`.

    `check` returns the record to write, or raises, in the main process and before anything is written. `write_more`
    writes further reports of that record into a folder, from which they are moved into the run's with the others.
    """
    data, settings = prepared.data, plan.settings
    if fitted.interrupted:
        log(f"stopped: keeping the best of {counted(len(fitted.history.rows), 'epoch')}")
    value = "-" if fitted.best.value is None else f"{fitted.best.value:.4f}"
    if not fitted.best.keeps_last:
        log(f"best epoch: {fitted.best.epoch} (valid {settings.monitor} {value})")
    calibrated = calibrate(network, fitted, prepared, settings, log, out_of_fold=out_of_fold)
    found = None
    if is_main_process():
        found = fit_novelty(network, fitted, prepared, settings, log, out_of_fold=out_of_fold)
    record = make_record(fitted, calibrated, prepared, plan, start, novelty=found, out_of_fold=out_of_fold)
    if is_main_process():
        record = check(record, found)
        checked = record
        write_own = partial(
            write_reports,
            run,
            checked,
            splits=data.splits,
            digests=prepared.store.digests,
            probabilities=calibrated.probabilities,
            history=fitted.history.rows,
        )

        def reports(folder: Path) -> None:
            write_own(folder)
            write_more(folder, checked)

        distance = found.distance if found else None
        record = save_checkpoint(
            run,
            network.cpu(),
            record,
            data.splits,
            prepared.store.digests,
            reports,
            novelty=distance,
            patients=prepared.patients.names if prepared.patients else None,
        )
        if not fitted.interrupted:
            forget_plan(run)
    return TrainResult(run=run, record=record, leaks=prepared.leaks, interrupted=fitted.interrupted)
