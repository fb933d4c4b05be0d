"""`train`: from a data folder to a run's folder with a checkpoint, its record and its metrics."""

import logging
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from ctonnx.errors import CtonnxError, DataError
from ctonnx.images import Preprocessing
from ctonnx.runs import RUNS, Run
from ctonnx_train.callbacks import BestWeights, EpochLog, History
from ctonnx_train.checkpoint import RunRecord, save_checkpoint
from ctonnx_train.dataset import Augmentation, PixelDataset, decode
from ctonnx_train.folders import DataFolder, read_data_folder
from ctonnx_train.metrics import evaluate
from ctonnx_train.network import CTClassifier
from ctonnx_train.recipe import Phase, Precision, TrainSettings, plan
from ctonnx_train.splits import SPLITS, Split
from ctonnx_train.task import ClassificationTask
from ctonnx_train.weights import load_backbone

__all__ = ["TrainResult", "predict_probabilities", "resolve_precision", "train"]

_LIBRARIES = ("ctonnx", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training left behind: the run's folder, and what its run.json holds."""

    run: Run
    record: RunRecord


def train(
    data: Path,
    *,
    settings: TrainSettings | None = None,
    preprocessing: Preprocessing | None = None,
    class_names: Mapping[str, str] | None = None,
    name: str | None = None,
    root: Path = RUNS,
    say: Callable[[str], None] = lambda line: None,
) -> TrainResult:
    """Trains a classifier and writes `root/name/`; an error or Ctrl-C leaves no folder behind.

    Args:
        data: see `ctonnx_train.folders.read_data_folder`.
        settings: the recipe's settings.
        preprocessing: the network's input.
        class_names: canonical names for class folders, by the folder's name.
        name: of the run; None makes one from the data folder's name and the time.
        root: the folder of the runs.
        say: called with lines that tell what happens.

    Raises:
        DataError: the data, the weights or the run's name cannot be used.
        OSError: the run's folder cannot be written.
    """
    settings = settings or TrainSettings()
    preprocessing = preprocessing or Preprocessing()
    folder = read_data_folder(data, class_names=class_names, seed=settings.seed)
    _describe(folder, say)
    pl.seed_everything(settings.seed, verbose=False)
    network = CTClassifier(len(folder.classes))
    load_backbone(network, settings.weights)
    run = _make_run(name or f"{data.resolve().name}-{datetime.now():%Y%m%d-%H%M%S}", root)
    try:
        return _train(data.resolve().name, folder, network, run, settings, preprocessing, say)
    except BaseException as error:
        shutil.rmtree(run.folder, ignore_errors=True)
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise CtonnxError(
                f"expected enough memory for batches of {settings.batch_size} images of {preprocessing.size} pixels, "
                "found too little; lower --batch-size or --image-size"
            ) from error
        raise


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Returns what `auto` means on a device: bf16 where it computes in bfloat16 natively, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu" and any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name):
        return "bf16"
    return "fp32"


def predict_probabilities(
    network: CTClassifier, pixels: NDArray[np.uint8], *, device: torch.device, batch_size: int = 32
) -> NDArray[np.float32]:
    """Returns probabilities, float32 [images, classes], computed in full precision.

    Args:
        network: moved to `device` and set to evaluation mode.
        pixels: uint8 [images, size, size, channels].
        device: where to compute.
        batch_size: images at a time.
    """
    network = network.to(device).eval()
    batches = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            batch = torch.from_numpy(pixels[start : start + batch_size]).permute(0, 3, 1, 2).to(device)
            batches.append(network(batch).softmax(1).cpu().numpy())
    return np.concatenate(batches)


def _train(
    name: str,
    folder: DataFolder,
    network: CTClassifier,
    run: Run,
    settings: TrainSettings,
    preprocessing: Preprocessing,
    say: Callable[[str], None],
) -> TrainResult:
    start = time.perf_counter()
    images = sum(len(samples) for samples in folder.splits.values())
    with tqdm(total=images, desc="reading images", unit="image", leave=False, disable=None) as bar:
        pixels = {split: decode(folder.root, folder.splits[split], preprocessing, bar.update) for split in SPLITS}
        fingerprint = folder.fingerprint()
    labels = {split: [sample.label for sample in folder.splits[split]] for split in SPLITS}
    device, precision, history, best = _fit(network, pixels, labels, settings, run, say)
    say(f"best epoch: {best.epoch} (valid loss {best.valid_loss:.4f})")
    metrics = {
        split: evaluate(predict_probabilities(network, pixels[split], device=device), labels[split], folder.classes)
        for split in ("valid", "test")
        if len(pixels[split])
    }
    record = RunRecord(
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        classes=folder.classes,
        folder_classes=folder.folder_classes,
        preprocessing=preprocessing,
        data={
            "folder": str(folder.root.resolve()),
            "name": name,
            "fingerprint": fingerprint,
            "images": folder.counts(),
        },
        synthetic=folder.synthetic,
        settings=asdict(settings),
        training={
            "epochs": len(history.rows),
            "best_epoch": best.epoch,
            "best_valid_loss": round(best.valid_loss, 6),
            "precision": precision,
            "device": device.type,
            "seconds": round(time.perf_counter() - start, 1),
        },
        metrics=metrics,
        versions={library: version(library) for library in _LIBRARIES},
    )
    save_checkpoint(run, network.cpu(), record, folder.splits)
    return TrainResult(run=run, record=record)


def _fit(
    network: CTClassifier,
    pixels: Mapping[Split, NDArray[np.uint8]],
    labels: Mapping[Split, list[int]],
    settings: TrainSettings,
    run: Run,
    say: Callable[[str], None],
) -> tuple[torch.device, Precision, History, BestWeights]:
    """Runs the phases, each with a trainer and an optimizer of its own."""
    size = settings.batch_size
    train_images = PixelDataset(pixels["train"], labels["train"], Augmentation())
    # A last batch of one image would give the batch normalization nothing to normalize by.
    lonely = len(train_images) % size == 1 and len(train_images) > 1
    order = torch.Generator().manual_seed(settings.seed)
    train_batches = DataLoader(train_images, size, shuffle=True, drop_last=lonely, generator=order)
    valid_batches = DataLoader(PixelDataset(pixels["valid"], labels["valid"]), size)
    phases = plan(settings)
    history = History(run.folder / "metrics.csv", planned=sum(phase.epochs for phase in phases))
    best = BestWeights(history)
    for phase in phases:
        with _quiet_lightning():
            trainer, precision = _trainer(phase, settings, [EpochLog(history, say), best])
            device = trainer.strategy.root_device
            if phase is phases[0]:
                say(f"training on {device.type} in {precision}, {size} images a step, at most {history.planned} epochs")
            network.to(memory_format=torch.channels_last)
            with _interruptible():
                trainer.fit(ClassificationTask(network, phase), train_batches, valid_batches)
        if not best.epoch:
            raise DataError(
                f"expected a validation loss, found one that is not finite in each of {len(history.rows)} epochs; the "
                "weights that training started from may be damaged: try others, or --weights none"
            )
        best.restore(network)
    return device, precision, history, best


def _trainer(phase: Phase, settings: TrainSettings, callbacks: list[pl.Callback]) -> tuple[pl.Trainer, Precision]:
    accelerator = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    precision = resolve_precision(settings.precision, torch.device(accelerator))
    if phase.patience is not None:
        callbacks = [*callbacks, EarlyStopping("valid_loss", patience=phase.patience)]
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=phase.epochs,
        callbacks=callbacks,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return trainer, precision


def _make_run(name: str, root: Path) -> Run:
    if not name or name.startswith(".") or Path(name).name != name:
        raise DataError(f"expected a plain folder name for the run, found '{name}'")
    run = Run(root / name)
    root.mkdir(parents=True, exist_ok=True)
    try:
        run.folder.mkdir()
    except FileExistsError as error:
        raise DataError(
            f"expected a new name for the run, found that '{run.folder}' exists; choose another --name"
        ) from error
    return run


def _describe(folder: DataFolder, say: Callable[[str], None]) -> None:
    if folder.synthetic:
        say("note: these images are synthetic phantoms; nothing learned from them means anything for patients")
    for name, canonical in sorted(folder.folder_classes.items()):
        if name != canonical:
            say(f"class folder '{name}' is read as '{canonical}'")
    if folder.made_splits:
        say(f"no folder for {' and '.join(folder.made_splits)}: taken from the training images, stratified by class")
    if folder.passed_over:
        say(f"passed over, without an image's name: {folder.passed_over}")
    for split, counts in folder.counts().items():
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        say(f"{split}: {sum(counts.values())} images ({shown})" if any(counts.values()) else f"{split}: no images")


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keeps Lightning's hints on devices and workers off the terminal; its errors still come through."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The images are in memory already: worker processes would only copy them.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Frozen stages and unused dropout are in evaluation mode on purpose.
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        # Lightning's own imports from a torch newer than itself.
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C be Ctrl-C: Lightning answers it with sys.exit(1) and leaves the signal ignored."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
