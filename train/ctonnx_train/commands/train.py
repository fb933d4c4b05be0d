"""`ctonnx train`: from a data folder to a run with a checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ctonnx.images import Color, Resize
    from ctonnx_train.recipe import Precision

__all__ = ["train"]


def _renames(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if not all(value.partition("=")[::2]):
            raise click.BadParameter(f"expected OLD=NEW, found '{value}'")
    return dict(value.split("=", 1) for value in values)


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|none|FILE",
    help="What the backbone starts from; FILE is a ResNet50's .safetensors or .pth.",
)
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="At most, over both phases.")
@click.option("--batch-size", type=click.IntRange(2), default=32, show_default=True, help="Images a step.")
@click.option("--image-size", type=click.IntRange(32, 4096), default=224, show_default=True, help="In pixels.")
@click.option(
    "--color", type=click.Choice(["grey", "rgb"]), default="grey", show_default=True, help="What the network sees."
)
@click.option(
    "--resize",
    type=click.Choice(["stretch", "pad"]),
    default="stretch",
    show_default=True,
    help="How an image becomes square: stretched, or centred on black.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of weights, order, augmentation, splits.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp32"]),
    default="auto",
    show_default=True,
    help="auto takes bf16 where the device computes in it.",
)
@click.option(
    "--unfreeze-from",
    type=click.Choice(["stem", "layer1", "layer2", "layer3", "layer4"]),
    default="layer4",
    show_default=True,
    help="First stage of the backbone that phase 2 trains; from pretrained weights only.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    help="Epochs without progress that end a phase; from pretrained weights only.",
)
@click.option(
    "--class-name",
    "class_names",
    metavar="OLD=NEW",
    multiple=True,
    callback=_renames,
    help="The class (NEW) of a class folder (OLD); may be repeated.",
)
@click.option("--name", help="The run's name; default: the data folder's name and the time.")
def train(
    data: Path,
    weights: str,
    epochs: int,
    batch_size: int,
    image_size: int,
    color: "Color",
    resize: "Resize",
    seed: int,
    precision: "Precision",
    unfreeze_from: str,
    patience: int,
    class_names: dict[str, str],
    name: str | None,
) -> None:
    """Train a classifier on a folder of CT images.

    The run is written to runs/NAME/. DATA holds train, valid (optional) and test (optional) folders with a folder for
    each class, or class folders alone, which are then split. From pretrained weights, first the head learns, then
    the last stages with it; with --weights none the whole network learns at once.

    \b
    Examples:
      ctonnx train chest-ct
      ctonnx train chest-ct --weights none --image-size 128 --epochs 30
    """
    from ctonnx.images import Preprocessing
    from ctonnx_train.metrics import format_metrics
    from ctonnx_train.recipe import TrainSettings
    from ctonnx_train.training import train as run_training

    result = run_training(
        data,
        settings=TrainSettings(
            weights=weights,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            precision=precision,
            unfreeze_from=unfreeze_from,
            patience=patience,
        ),
        preprocessing=Preprocessing(size=image_size, color=color, resize=resize),
        class_names=class_names,
        name=name,
        say=lambda line: click.echo(line, err=True),
    )
    titles = {"valid": "validation", "test": "test"}
    for split, metrics in result.record.metrics.items():
        click.echo(format_metrics(titles[split], metrics) + "\n")
    click.echo(f"{result.run.folder}: checkpoint, run.json and metrics.csv are there; next, ctonnx export")
