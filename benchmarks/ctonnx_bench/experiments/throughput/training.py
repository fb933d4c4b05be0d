"""Training speed compared with timm, for the same network, image size, batch size, precision and optimizer.

    python -m ctonnx_bench.experiments.throughput.training DATA [--image-size 128] [--batch-size 32] [--rounds 3]

Each measurement is a separate process; the processes run in turn. timm's `train.py` is not part of its package, so its
epoch is built here from the parts that it uses: its dataset, loader, model and optimizer, autocast and channels-last.
timm decodes images from files in worker processes, ctonnx reads them from memory; this is part of the comparison. Only
training is timed, without validation, after a first epoch.
"""

import importlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctonnx_bench.measurement.child import child_option, measure_in_child
from ctonnx_bench.measurement.interleaving import measure_in_turn, paired_ratio

if TYPE_CHECKING:
    from ctonnx_train.training.loop.batches import PixelDataset
    from ctonnx_train.training.recipe import TrainSettings

__all__ = ["PEERS", "main", "measure", "measure_ctonnx", "measure_last_epoch", "measure_timm"]


def measure_ctonnx(data: Path, image_size: int, batch_size: int, *, reuse_memory: bool = True) -> dict[str, float]:
    """Returns images per second of the recipe's second epoch at full size, and the share of time spent on data."""
    from ctonnx.images import Preprocessing
    from ctonnx_train.data.image_folder import read_data
    from ctonnx_train.training.loop.batches import PixelDataset
    from ctonnx_train.training.preparation import prepare
    from ctonnx_train.training.recipe import TrainSettings

    settings = TrainSettings(weights="none", epochs=2, batch_size=batch_size, precision="bf16")
    ready = prepare(read_data(data), settings, Preprocessing(size=image_size), lambda line: None)
    labels = ready.labels("train")
    images = PixelDataset(ready.store, ready.rows["train"], labels)
    few = PixelDataset(ready.store, ready.rows["valid"][:1], ready.labels("valid")[:1])  # validation is not timed
    return measure_last_epoch(images, few, labels, ready.data.classes, settings, reuse_memory=reuse_memory)


def measure_last_epoch(
    images: "PixelDataset",
    validated: "PixelDataset",
    labels: Sequence[int],
    classes: Sequence[str],
    settings: "TrainSettings",
    *,
    reuse_memory: bool = True,
) -> dict[str, float]:
    """Trains a new network on images at full size, and returns the measurements of the last epoch's steps."""
    from dataclasses import replace

    from ctonnx.artifacts.run import Run
    from ctonnx_train.network.classifier import CTClassifier
    from ctonnx_train.training.loop.fit import fit
    from ctonnx_train.training.recipe import plan

    phases = [replace(phase, growing=False) for phase in plan(settings)]  # peers use full-size images from the start
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as folder:
        fitted = fit(
            CTClassifier(len(classes)),
            images,
            validated,
            labels,
            classes,
            settings,
            Run(Path(folder)),
            phases=phases,
            reuse_memory=reuse_memory,
        )
    epoch = fitted.history.rows[-1]
    return {
        "images_per_second": len(images) / epoch["train_seconds"],
        "data_share": epoch["data_seconds"] / epoch["train_seconds"],
    }


def measure_timm(data: Path, image_size: int, batch_size: int) -> dict[str, float]:
    """Returns images per second of the second epoch of timm's loop, and the share of time spent on data."""
    import torch

    from ctonnx_train.data.image_folder import read_data

    # By name: timm is marked as typed, but does not export its public names.
    timm_data, timm_models, timm_optim = (
        importlib.import_module(f"timm.{part}") for part in ("data", "models", "optim")
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = timm_data.create_dataset("", root=str(read_data(data).root / "train"), split="train", is_training=True)
    loader = timm_data.create_loader(
        images,
        input_size=(3, image_size, image_size),
        batch_size=batch_size,
        is_training=True,
        num_workers=4,
        device=device,
        use_prefetcher=device.type == "cuda",
        pin_memory=device.type == "cuda",
    )
    classes = len({label for _, label in images.reader.samples})
    model = (
        timm_models.create_model("resnet50", num_classes=classes)
        .to(device)
        .to(memory_format=torch.channels_last)
        .train()
    )
    optimizer = timm_optim.create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=0.02)
    loss_of = torch.nn.CrossEntropyLoss()
    for _ in range(2):
        count, waited = 0, 0.0
        start = before = time.perf_counter()
        for pixels, labels in loader:
            pixels = pixels.to(device, memory_format=torch.channels_last)
            labels = labels.to(device)
            waited += time.perf_counter() - before
            with torch.autocast(device.type, torch.bfloat16):
                loss = loss_of(model(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count += len(labels)
            loss.item()
            before = time.perf_counter()
        seconds = time.perf_counter() - start
    return {"images_per_second": count / seconds, "data_share": waited / seconds}


PEERS: dict[str, Callable[[Path, int, int], dict[str, float]]] = {
    "ctonnx": measure_ctonnx,
    "ctonnx, memory returned": partial(measure_ctonnx, reuse_memory=False),
    "timm": measure_timm,
}
"""Compared trainings; the first one is the baseline."""


def measure(peer: str, data: Path, image_size: int, batch_size: int) -> dict[str, float]:
    """Returns the measurement of a peer in a new process."""
    found: dict[str, float] = measure_in_child(
        "ctonnx_bench.experiments.throughput.training", peer, data, image_size, batch_size
    )
    return found


def _measure_here(peer: str, data: str, image_size: int, batch_size: int) -> dict[str, float]:
    return PEERS[peer](Path(data), image_size, batch_size)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--image-size", type=click.IntRange(32), default=128, show_default=True, help="Image size in pixels.")
@click.option("--batch-size", type=click.IntRange(2), default=32, show_default=True, help="Images per step.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Number of processes for each.")
@child_option(_measure_here)
def main(data: Path, image_size: int, batch_size: int, rounds: int) -> None:
    """Compare ctonnx's training with timm's on the training images of DATA."""
    peers = [name for name in PEERS if name != "timm" or find_spec("timm")]
    samples = measure_in_turn(peers, rounds, lambda name: measure(name, data, image_size, batch_size))
    click.echo(f"ResNet50, {image_size} pixels, batch {batch_size}, bf16, {rounds} processes each in turn: medians")
    first = [sample["images_per_second"] for sample in samples[peers[0]]]
    for name, found in samples.items():
        rates = [sample["images_per_second"] for sample in found]
        share = statistics.median(sample["data_share"] for sample in found)
        ratio = paired_ratio(first, rates)
        click.echo(
            f"{name:26}  {statistics.median(rates):7.1f} images/s ({min(rates):.1f} to {max(rates):.1f})  "
            f"data {share:6.1%}  ctonnx is {ratio:.2f} times as fast"
        )
    if "timm" not in peers:
        click.echo("timm: skipped, not installed; pip install timm")


if __name__ == "__main__":
    main()
