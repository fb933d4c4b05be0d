"""`train` and `resume`: from a dataset to a run's folder with a checkpoint, its record and its metrics."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from ctonnx.artifacts.run import RUNS, Run
from ctonnx.errors import CtonnxError, DataError
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import NEW_MODELS
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.system.text import Log
from ctonnx_train.data.dataset import Dataset, describe
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.evaluation.fitting.threshold import positive_classes
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.pretrained import IMAGENET, NONE, load_backbone
from ctonnx_train.network.threads import computing_threads
from ctonnx_train.runs.checkpoint import STAGED
from ctonnx_train.training.cross_fitting import cross_fit
from ctonnx_train.training.loop.device import out_of_memory
from ctonnx_train.training.loop.distributed import is_main_process, lost_process, require_processes
from ctonnx_train.training.loop.fit import require_tensorboard
from ctonnx_train.training.preparation import Prepared, prepare
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.resume import (
    RunPlan,
    find_resumable_run,
    load_plan,
    load_state,
    remove_leftovers_of_runs,
    save_plan,
)
from ctonnx_train.training.single_run import TrainResult, train_network

__all__ = ["keeping_finished_epochs", "make_run", "prepare_run", "resume", "train"]


def train(
    data: Path,
    *,
    labels: Path | None = None,
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
        data: Dataset; see `ctonnx_train.data.image_folder.read_data`.
        labels: Labels file of the images in `data`, if it has one.
        found: Result of `read_data` for `data`, `labels` and `class_names`, if it has been called already.
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
    require_processes(settings.devices, settings.nodes)
    if settings.weights not in (IMAGENET, NONE):
        settings = replace(settings, weights=str(Path(settings.weights).resolve()))  # for a resume from another folder
    plan = RunPlan(
        data=data.resolve(),
        settings=settings,
        preprocessing=preprocessing or NEW_MODELS,
        class_names=class_names or {},
        labels=labels.resolve() if labels else None,
    )
    log = _main_process_only(log)
    found = found or read_data(data, class_names=plan.class_names, labels=labels)
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
    run = make_run(name or f"{plan.data_name}-{datetime.now():%Y%m%d-%H%M%S}", root, network, plan.settings.folds)
    with keeping_finished_epochs(run, plan, log, is_new=True), computing_threads(plan.settings.threads):
        if is_main_process():
            save_plan(run, plan)
        prepared = prepare_run(found, run, plan, log)
        return _run(prepared, network, run, plan, None, log)


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
    if plan.compression is not None:
        raise DataError(
            f"expected a run of ctonnx train, found that '{unfinished.folder}' is compressed from another; resume it "
            f"with: ctonnx compress --resume {unfinished.folder}"
        )
    require_processes(plan.settings.devices, plan.settings.nodes)
    if is_main_process():
        shutil.rmtree(unfinished.folder / STAGED, ignore_errors=True)  # of a process killed while it wrote
        remove_leftovers_of_runs(unfinished.folder, log)
    key = unfinished.patients_key_file
    pseudonyms = Pseudonyms.load(key) if key.exists() else None
    found = read_data(plan.data, class_names=plan.class_names, labels=plan.labels, pseudonyms=pseudonyms)
    describe(found, log)
    pl.seed_everything(plan.settings.seed, verbose=False)
    state = load_state(unfinished)
    network = CTClassifier(len(found.classes))
    if state is None:
        load_backbone(network, plan.settings.weights)
    with keeping_finished_epochs(unfinished, plan, log, is_new=False), computing_threads(plan.settings.threads):
        prepared = prepare_run(found, unfinished, plan, log)
        return _run(prepared, network, unfinished, plan, state, log)


def _run(
    prepared: Prepared,
    network: CTClassifier,
    run: Run,
    plan: RunPlan,
    state: Mapping[str, Any] | None,
    log: Log,
) -> TrainResult:
    """Trains the network; with folds, their networks first."""
    if not plan.settings.folds:
        return train_network(prepared, network, run, plan, state, log)
    prepared, out_of_fold = cross_fit(prepared, run, plan, log)
    log(f"final network: {len(prepared.data.splits['train'])} images to train on")
    pl.seed_everything(plan.settings.seed, verbose=False)
    return train_network(prepared, network, run, plan, state, log, out_of_fold=out_of_fold)


def prepare_run(found: Dataset, run: Run, plan: RunPlan, log: Log) -> Prepared:
    """Prepares a dataset, and records its fingerprint or compares it with the recorded one.

    Raises:
        DataError: If the images have changed, or patients that an option needs are unknown.
    """
    prepared = prepare(found, plan.settings, plan.preprocessing, log)
    if prepared.patients is None and (plan.settings.aggregate != "auto" or plan.settings.top_k is not None):
        raise DataError(
            "expected the patients of the images for --aggregate and --top-k, found none; name them: --labels or "
            "--group-regex"
        )
    if plan.fingerprint and prepared.fingerprint != plan.fingerprint:
        raise DataError(
            f"expected the images that '{run.folder}' was trained on in '{plan.data}', found that they have changed "
            "since; restore them, or train again"
        )
    if is_main_process():
        save_plan(run, replace(plan, fingerprint=prepared.fingerprint))
        if prepared.patients and prepared.patients.origin != "--group-regex" and not run.patients_key_file.exists():
            found.pseudonyms.save(run.patients_key_file)
    return prepared


@contextmanager
def keeping_finished_epochs(
    run: Run, plan: RunPlan, log: Log, *, is_new: bool, command: str = "ctonnx train"
) -> Iterator[None]:
    """On an error or Ctrl-C, removes a new run without a finished epoch, and logs how to resume any other."""
    try:
        yield
    except BaseException as error:
        if is_main_process():
            if run.last_file.exists() or any(_finished_epochs_in_folds(run)):
                log(f"the finished epochs are kept; resume with: {command} --resume {run.folder}")
            elif is_new and not run.has_checkpoint:
                shutil.rmtree(run.folder, ignore_errors=True)
        if lost_process(error):
            processes = plan.settings.devices * plan.settings.nodes
            raise CtonnxError(
                f"expected all {processes} processes of the training, found that one is gone: it was killed, or out of "
                "memory, or the network between them is down; see its last lines"
            ) from error
        if out_of_memory(error):
            if plan.compression is not None:
                raise CtonnxError(
                    f"expected enough memory for batches of {plan.settings.batch_size} images of "
                    f"{plan.preprocessing.size} pixels, found too little; compress again with a lower --batch-size"
                ) from error
            stages = "" if plan.settings.weights == NONE else ", train fewer stages (--unfreeze-from layer4)"
            compiler = ", leave out --compile" if plan.settings.compile else ""
            raise CtonnxError(
                f"expected enough memory for batches of {plan.settings.batch_size} images of "
                f"{plan.preprocessing.size} pixels, found too little; {'' if is_new else 'train again: '}lower "
                f"--batch-size or --image-size{stages}{compiler}, or keep fewer images in memory (--cache-gb)"
            ) from error
        raise


def _finished_epochs_in_folds(run: Run) -> Iterator[bool]:
    for folder in run.folder.glob("folds/*/"):
        yield Run(folder).has_checkpoint or Run(folder).last_file.exists()


def _main_process_only(log: Log) -> Log:
    return log if is_main_process() else lambda line: None


def make_run(name: str, root: Path, network: CTClassifier, folds: int | None) -> Run:
    """Makes the folder of a new run, if there is enough disk space for a training of the network.

    Raises:
        DataError: If the name is not that of a folder, or the folder exists.
        CtonnxError: If there is too little disk space.
    """
    if not name or name.startswith(".") or Path(name).name != name:
        raise DataError(f"expected a plain folder name for the run, found '{name}'")
    run = Run(root / name)
    if not is_main_process():
        return run
    root.mkdir(parents=True, exist_ok=True)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    # Four times each in last.ckpt and its predecessor, and once in the checkpoint, and in that of each fold.
    needed = (9 + (folds or 0)) * weights
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
