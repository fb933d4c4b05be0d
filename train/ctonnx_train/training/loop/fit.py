"""`fit`: runs the phases of a training, from the start or a saved state, until the end or Ctrl-C."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.system.text import Log, counted
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.openmp import on_the_first_core
from ctonnx_train.training.loop.acquisition import Acquisition
from ctonnx_train.training.loop.augmentation import Augmentation
from ctonnx_train.training.loop.batches import Batch, EpochSampler, PixelDataset, batches
from ctonnx_train.training.loop.callbacks import BestWeights, DirectWriting, EpochLog, History, LastCheckpoint
from ctonnx_train.training.loop.device import LIGHTNING_PRECISION, choose_device, keep_freed_memory
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import Phase, Precision, TrainSettings, class_weights, plan

__all__ = ["Fitted", "fit", "require_tensorboard"]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Result of `fit`, perhaps `interrupted` by Ctrl-C; the network has the best weights."""

    device: torch.device
    precision: Precision
    history: History
    best: BestWeights
    interrupted: bool


def fit(
    network: CTClassifier,
    train_images: PixelDataset,
    valid_images: PixelDataset,
    labels: Sequence[int],
    classes: Sequence[str],
    settings: TrainSettings,
    run: Run,
    *,
    state: Mapping[str, Any] | None = None,
    phases: Sequence[Phase] | None = None,
    make_task: Callable[..., ClassificationTask] = ClassificationTask,
    before_phase: Callable[[Phase], None] = lambda phase: None,
    reuse_memory: bool = True,
    log: Log = lambda line: None,
) -> Fitted:
    """Trains a network in place, in the phases of the recipe, each with its own trainer and optimizer.

    The run's metrics.csv and last.ckpt are written; `labels` are those of the training images. By default, the training
    is a new one (`state` is the content of a last.ckpt to resume from), in the phases of
    `ctonnx_train.training.recipe.plan`, and freed memory is kept for the next step
    (`keep_freed_memory`). The best epoch is kept; with phases that are given, the last one: the caller knows how long
    to train.

    `make_task` makes the task of a phase from the arguments of `ClassificationTask`. `before_phase` is called before
    each phase that does not resume, and may change the network.

    Raises:
        DataError: If no validation metric was ever finite, or there are too few GPUs or images.
        KeyboardInterrupt: If Ctrl-C is pressed before the end of the first epoch.
    """
    if reuse_memory:
        keep_freed_memory()
    keep_last = phases is not None
    phases = phases or plan(settings)
    history = History(run.metrics_file, planned=sum(phase.epochs for phase in phases))
    best = BestWeights(history, settings.monitor, keep_last=keep_last)
    done = 0
    if state is not None:
        last = state["callbacks"]["LastCheckpoint"]
        history.rows[:] = last["history"]
        best.load_state_dict(state["callbacks"]["BestWeights"])
        done = last["phase"] if last["phase_ended"] else last["phase"] - 1
        log(f"resuming after epoch {len(history.rows)} of {history.planned}")
    weights = class_weights(labels, len(classes))
    if settings.imbalance != "none":
        shown = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(classes, weights, strict=True))
        how = "weights in the loss" if settings.imbalance == "loss" else "sampling weights"
        log(f"imbalance: {how}: {shown}")
    device, precision = choose_device(settings)
    processes = settings.devices * settings.nodes
    many = processes > 1
    if processes > min(len(train_images), len(valid_images)):
        raise DataError(
            f"expected at least an image for each of {processes} processes, found {len(train_images)} to train on and "
            f"{len(valid_images)} to validate; lower --devices or --nodes"
        )
    log(
        f"training on {f'{processes} x ' if many else ''}{device.type} in {precision}, "
        f"{settings.batch_size} images a step{' each' if many else ''}, at most {counted(history.planned, 'epoch')}"
    )
    interrupted = False
    size = train_images[0][0].shape[-1]
    for phase in phases[done:]:
        resumes = state is not None and phase.number == state["callbacks"]["LastCheckpoint"]["phase"]
        if best.epoch and not resumes:
            best.restore(network)
        network.to(memory_format=torch.channels_last)
        if not resumes:
            before_phase(phase)
            network.to(memory_format=torch.channels_last)  # of parts that were made now
        callbacks = [EpochLog(history, log, phases, size), best, LastCheckpoint(run.last_file, history, phase.number)]
        task = make_task(
            network,
            phase,
            seed=settings.seed,
            class_weights=weights if settings.imbalance == "loss" else None,
            augmentation=Augmentation.of_strength(
                phase.augmentation, acquisition=Acquisition() if settings.augmentation == "acquisition" else None
            ),
            compile_network=settings.compile,
        )
        with _quiet_lightning():
            trainer = _trainer(phase, settings, run, device, precision, callbacks)
            train_batches, valid_batches = _loaders(train_images, valid_images, labels, weights, settings, trainer)
            if resumes:
                # Lightning fetches the first batch of a resumed epoch before it sets the sampler's epoch.
                epoch = sum(row["phase"] == phase.name for row in history.rows)
                cast(EpochSampler, train_batches.sampler).set_epoch(epoch)
            try:
                with _interruptible(), on_the_first_core() if device.type == "cpu" else nullcontext():
                    resume_from = run.last_file if resumes else None
                    trainer.fit(task, train_batches, valid_batches, ckpt_path=resume_from, weights_only=True)
            except KeyboardInterrupt:
                if not best.epoch or not history.rows:
                    run.last_file.unlink(missing_ok=True)  # no epoch with a finite metric to resume from
                    raise
                interrupted = True
                break
            device = trainer.strategy.root_device
    if not best.epoch:
        run.last_file.unlink(missing_ok=True)
        raise DataError(
            f"expected a validation loss, found none that is finite in {counted(len(history.rows), 'epoch')}; the "
            "initial weights may be damaged: try others, or --weights none"
        )
    best.restore(network)
    return Fitted(device=device, precision=precision, history=history, best=best, interrupted=interrupted)


def _trainer(
    phase: Phase,
    settings: TrainSettings,
    run: Run,
    device: torch.device,
    precision: Precision,
    callbacks: list[pl.Callback],
) -> pl.Trainer:
    if settings.tensorboard:
        require_tensorboard()
    if phase.patience is not None:
        mode = "min" if settings.monitor == "loss" else "max"
        # An epoch with a NaN metric counts as one without progress.
        stopping = EarlyStopping(f"valid_{settings.monitor}", patience=phase.patience, mode=mode, check_finite=False)
        callbacks = [*callbacks, stopping]
    return pl.Trainer(
        accelerator=device.type,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy="ddp" if settings.devices * settings.nodes > 1 else "auto",
        use_distributed_sampler=False,  # EpochSampler distributes the images
        precision=LIGHTNING_PRECISION[precision],
        max_epochs=phase.epochs,
        callbacks=callbacks,
        plugins=[DirectWriting()],
        num_sanity_val_steps=0,
        logger=settings.tensorboard and TensorBoardLogger(run.folder, name="tensorboard", version=phase.name),
        log_every_n_steps=1,  # steps are not logged; larger numbers give warnings in short epochs
        enable_checkpointing=True,  # by LastCheckpoint
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def require_tensorboard() -> None:
    """Raises DataError if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise DataError('expected the package tensorboard, found none; pip install "ctonnx[tensorboard]"')


def _loaders(
    train_images: PixelDataset,
    valid_images: PixelDataset,
    labels: Sequence[int],
    weights: Sequence[float],
    settings: TrainSettings,
    trainer: pl.Trainer,
) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
    rank, world, size = trainer.global_rank, trainer.world_size, settings.batch_size
    on_gpu = trainer.strategy.root_device.type == "cuda"
    sampler = EpochSampler(
        len(train_images),
        seed=settings.seed,
        weights=[weights[label] for label in labels] if settings.imbalance == "sampler" else None,
        rank=rank,
        world=world,
    )
    # Batch normalization needs more than one image in the last batch.
    lonely = len(sampler) % size == 1 and len(sampler) > 1
    other_shape = settings.compile and len(sampler) > size  # would be compiled separately
    valid_rows = range(rank, len(valid_images), world)
    return (
        batches(train_images, size, sampler, on_gpu=on_gpu, drop_last=lonely or other_shape),
        batches(valid_images, size, valid_rows, on_gpu=on_gpu, drop_last=False),
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silences Lightning's hints about devices and workers, but not its errors."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The images are already in memory; worker processes would only copy them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Frozen stages and unused dropout are in evaluation mode on purpose.
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        # Imports of Lightning that a newer torch deprecates.
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raises KeyboardInterrupt on Ctrl-C, where Lightning calls sys.exit(1) and leaves the signal ignored."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
