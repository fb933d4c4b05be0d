"""Speed of training on random images next to a plain loop, a run on phantoms for the later steps, and its resume."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ctonnx.artifacts.run import Run
from ctonnx.errors import CtonnxError
from ctonnx.images import Preprocessing
from ctonnx_bench.experiments.throughput.plain_training import measure_plain
from ctonnx_bench.experiments.throughput.training import measure_last_epoch
from ctonnx_bench.gpu.step import RUN, Context
from ctonnx_train.data.phantom.phantom_set import generate
from ctonnx_train.data.pixel_store import PixelArray
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.loop.batches import Batch, PixelDataset
from ctonnx_train.training.loop.fit import fit
from ctonnx_train.training.recipe import TrainSettings, plan
from ctonnx_train.training.resume import load_state
from ctonnx_train.training.train import train

Result = TypeVar("Result")

__all__ = ["Speed", "images_that_fit", "measure_resume", "run"]

_CLASSES = ("a", "b", "c", "d")
_RESUME_IMAGES = 64
_RESUME_BATCH = 16
_TOLERANCE = 0.01  # of the distance that the weights moved; without the optimizer's state it is about 1
_COMPILING_S = 60.0
_LEAST_S = 5.0
_TRIAL_STEPS = 8  # for an estimate of the rate
_PLAIN = "plain torchvision loop"


@dataclass(frozen=True)
class Speed:
    """Speed of a training's second epoch.

    Attributes:
        training: Title.
        images_per_s: Images per second.
        data_share: Share of the time spent on data.
        gpu_mb: Peak of the GPU memory that PyTorch allocated, in MB; None without a GPU.
    """

    training: str
    images_per_s: float
    data_share: float
    gpu_mb: float | None


def run(context: Context) -> None:
    """Trains on phantoms, resumes a training, and measures the speed on random images, at last with compiling.

    An error of a part does not keep the others from running.

    Raises:
        CtonnxError: If the kit needs a GPU, and PyTorch finds none.
    """
    if context.settings.needs_gpu and not torch.cuda.is_available():
        raise CtonnxError(
            "expected a GPU that PyTorch can use, found none: training on the CPU takes hours; see the facts"
        )
    _train_on_phantoms(context)
    if context.has_time(10, "resume"):
        moved = _attempt(context, "resume", lambda: measure_resume(context))
        if moved is not None:
            context.fact("difference of a resumed training from an uninterrupted one, as a share of its way", moved)
            if not moved <= _TOLERANCE:
                apart = f"{moved:.2g} of the way apart"
                context.fail(f"expected a resumed training to end at the same weights, found {apart}")
    _measure_speed(context)


def _attempt(context: Context, title: str, measure: Callable[[], Result], *, is_peer: bool = False) -> Result | None:
    """Returns a measurement, or None after an error, which is a failure of ctonnx and a note of a peer."""
    try:
        return measure()
    except Exception as error:  # of any library; the other parts are still measured
        text = f"{title}: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"
        context.note(text) if is_peer else context.fail(text)
        return None


def _train_on_phantoms(context: Context) -> None:
    settings = context.settings
    data = context.work / "phantoms"
    if not data.exists():
        generate(data, per_class=settings.phantoms_per_class, size=max(96, settings.image_size))
    result = train(
        data,
        settings=TrainSettings(weights="none", epochs=settings.phantom_epochs, batch_size=16),
        preprocessing=Preprocessing(size=settings.image_size),
        name=RUN,
        root=_emptied(context),
        log=print,
    )
    context.fact("run on phantoms", str(result.run.folder.name))


def _emptied(context: Context) -> Any:
    """Returns the folder of the runs, without that of an earlier kit in the same folder."""
    import shutil

    shutil.rmtree(context.work / "runs", ignore_errors=True)
    return context.work / "runs"


def images_that_fit(count: int, rate: float, seconds: float, batch_size: int) -> int:
    """Returns the number of images, at most `count`, whose two epochs take no longer than some seconds.

    >>> images_that_fit(20_000, 1000.0, 60.0, 128), images_that_fit(20_000, 100.0, 60.0, 128)
    (20000, 2944)

    Args:
        count: Number of images to measure if there is time.
        rate: Images per second.
        seconds: Time for two epochs.
        batch_size: Images per step; the result is a multiple, 2 steps at least, if it is less than `count`.
    """
    fitting = int(rate * seconds / 2) // batch_size * batch_size
    return min(count, max(2 * batch_size, fitting))


def _measure_speed(context: Context) -> None:
    settings = context.settings
    random = np.random.default_rng(0)
    side, batch = settings.random_size, settings.train_batch
    plain = partial(
        measure_plain,
        classes=len(_CLASSES),
        batch_size=batch,
        device=settings.provider,
        workers=4 if settings.provider == "cuda" else 0,
    )
    pixels = random.integers(0, 256, (settings.random_images, side, side, 1), np.uint8)
    labels = [number % len(_CLASSES) for number in range(len(pixels))]
    recipe = TrainSettings(weights="none", epochs=2, batch_size=batch, precision="bf16")

    def own(count: int, settings: TrainSettings) -> dict[str, float]:
        store = PixelArray(pixels[:count])
        images, few = PixelDataset(store, range(count), labels[:count]), PixelDataset(store, [0], [0])
        return measure_last_epoch(images, few, labels[:count], _CLASSES, settings)

    tried = min(len(pixels), _TRIAL_STEPS * batch)
    trial = _attempt(context, "ctonnx", lambda: own(tried, recipe))
    rate = 0.0 if trial is None else trial["images_per_second"]
    count = images_that_fit(len(pixels), rate, context.left_s / 5, batch)
    if count < len(pixels):
        context.note(f"{count} random images instead of {len(pixels)}: ctonnx trains {rate:.0f} of them a second")
    trainings: dict[str, Callable[[], dict[str, float]]] = {
        "ctonnx": lambda: trial if trial is not None and tried == count else own(count, recipe),
        _PLAIN: lambda: plain(pixels[:count], labels[:count]),
        "ctonnx, --compile": lambda: own(count, replace(recipe, compile=True)),
    }
    context.fact("random images", f"{count} of {side} x {side}, batch {batch}, bf16")
    if not settings.compiles:
        context.note("--compile: torch's compiler is off in the rehearsal, as it takes minutes on a CPU")
    for title, measure in trainings.items():
        if title == "ctonnx" and trial is None:
            continue  # it has failed
        compiles = "compile" in title and settings.compiles
        if not context.has_time(_COMPILING_S if compiles else _LEAST_S, title, is_peer=title == _PLAIN):
            continue
        _free_memory()
        found = _attempt(context, title, measure, is_peer=title == _PLAIN)
        if found is not None:
            context.row("Speed", Speed(title, found["images_per_second"], found["data_share"], _peak_mb()))


def measure_resume(context: Context) -> float:
    """Returns the distance of a resumed training's weights from an uninterrupted one's, as a share of their way.

    The training of two epochs is in float32 with deterministic algorithms. The way is that of the second epoch, which
    is interrupted after its first step.
    """
    side = context.settings.random_size
    pixels = np.random.default_rng(1).integers(0, 256, (_RESUME_IMAGES, side, side, 1), np.uint8)
    labels = [number % 2 for number in range(len(pixels))]
    rows = range(len(pixels))
    recipe = TrainSettings(weights="none", epochs=2, batch_size=_RESUME_BATCH, precision="fp32")
    phases = [replace(phase, growing=False) for phase in plan(recipe)]
    few = PixelDataset(PixelArray(pixels), rows[:2], labels[:2])
    steps = len(pixels) // _RESUME_BATCH

    def weights(run: Run, images: PixelDataset, *, resumes: bool = False) -> Tensor:
        torch.manual_seed(int(resumes))  # a resumed training must not depend on new initial weights
        network = CTClassifier(2)
        state = load_state(run) if resumes else None
        fit(network, images, few, labels, ("a", "b"), recipe, run, state=state, phases=phases)
        return torch.cat([value.detach().float().cpu().flatten() for value in network.parameters()])

    folders = [context.work / "resume" / name for name in ("whole", "parts")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    whole, parts = map(Run, folders)
    deterministic = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        expected = weights(whole, PixelDataset(PixelArray(pixels), rows, labels))
        after_one = weights(parts, _Interrupted(PixelArray(pixels), rows, labels, after=steps + 1))
        found = weights(parts, PixelDataset(PixelArray(pixels), rows, labels), resumes=True)
    finally:
        torch.backends.cudnn.deterministic = deterministic
    return float((found - expected).norm() / (expected - after_one).norm())


class _Interrupted(PixelDataset):
    """Images whose loading raises KeyboardInterrupt, as Ctrl-C does, after some batches."""

    def __init__(self, store: PixelArray, rows: Any, labels: Any, *, after: int) -> None:
        super().__init__(store, rows, labels)
        self._left = after

    def __getitems__(self, indices: list[int]) -> Batch:
        """Returns a batch of images, or raises."""
        if len(indices) > 1:  # the size is read from a single image
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        return super().__getitems__(indices)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_mb() -> float | None:
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
