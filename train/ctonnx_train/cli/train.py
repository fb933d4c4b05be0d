"""`ctonnx train`: from a data folder to a run with a checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from ctonnx.cli.options import FiniteRange, threads_option
from ctonnx.images.preprocessing import Color, Crop, Intensity, Preprocessing, Resize
from ctonnx_train.cli.options import (
    class_name_option,
    dataset_folder,
    labels_option,
    log,
    preprocessing_options,
    reject_other_options,
)
from ctonnx_train.training.recipe import (
    MONITORS,
    AggregateChoice,
    AugmentationKind,
    Imbalance,
    Precision,
    TrainSettings,
    default_augmentation,
    default_batch_size,
    launched_processes,
)

if TYPE_CHECKING:
    from ctonnx_train.training.single_run import TrainResult

__all__ = ["train"]

_DEFAULTS = {field.name: field.default for field in fields(TrainSettings)}


def _setting(name: str, **details: Any) -> Callable[[Any], Any]:
    """Returns the option for a field of `TrainSettings`, with the field's default."""
    return click.option(name, default=_DEFAULTS[name[2:].replace("-", "_")], **details)


@click.command(context_settings={"show_default": True})
@click.argument("data", type=click.Path(path_type=Path), required=False)
@_setting(
    "--weights",
    metavar="imagenet|none|FILE",
    help="Initial weights of the backbone; FILE is a ResNet50's .safetensors, .pth, .pt, .bin or .ckpt.",
)
@_setting("--epochs", type=click.IntRange(1), help="Maximum number of training epochs, over both phases.")
@click.option(
    "--batch-size",
    type=click.IntRange(2),
    show_default=f"{default_batch_size('imagenet')}; {default_batch_size('none')} with --weights none",
    help="Number of images per step on each device.",
)
@preprocessing_options
@click.option(
    "--full-size",
    is_flag=True,
    help="Use full-size images in every epoch (--weights none starts with smaller); slower, better for small findings.",
)
@_setting(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    help="Random seed for initial weights, sample order, augmentation and splits.",
)
@_setting(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="Numeric precision; auto is bf16 if the device supports it natively, fp16 on other CUDA GPUs, else fp32.",
)
@_setting(
    "--unfreeze-from",
    type=click.Choice(["stem", "layer1", "layer2", "layer3", "layer4"]),
    help="First stage of the backbone that phase 2 trains; only with pretrained weights.",
)
@_setting(
    "--patience",
    type=click.IntRange(1),
    help="Number of epochs without improvement that end a phase; only with pretrained weights.",
)
@_setting("--monitor", type=click.Choice(MONITORS), help="Validation metric that selects the best epoch.")
@_setting(
    "--imbalance",
    type=click.Choice(get_args(Imbalance)),
    help="Compensation for rare classes: weights in the loss, a sampler that draws them more often, or none.",
)
@click.option(
    "--augmentation",
    type=click.Choice(get_args(AugmentationKind)),
    show_default=f"{default_augmentation('imagenet')}; {default_augmentation('none')} with --weights none",
    help="Changes of training images: also those of other scanners, windows, viewers and formats, or only movements.",
)
@click.option(
    "--drop-leaks",
    is_flag=True,
    help="Remove copies of earlier splits' images from valid and test, and copies with different labels from train.",
)
@click.option(
    "--group-regex",
    metavar="REGEX",
    help="Regular expression for an image's patient, or another group, in its path; a group is kept in one split.",
)
@click.option(
    "--folds",
    type=click.IntRange(3),
    help="Number of folds for cross-fitting: a network for each fold, and the final one, trained on train and valid. "
    "The thresholds are fitted on all these images, each predicted by a network trained without it.",
)
@click.option("--positive", metavar="CLASS", multiple=True, help="Suspicious class; default: all but normal, benign.")
@_setting(
    "--sensitivity",
    type=FiniteRange(0, 1, min_open=True),
    help="Target sensitivity of the operating point on the validation set.",
)
@_setting(
    "--coverage",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Target share of each class's images with their class in their prediction set.",
)
@_setting(
    "--aggregate",
    type=click.Choice(get_args(AggregateChoice)),
    help="Slices that a patient's score is the mean of: the most suspicious, all, or the K most suspicious; auto is "
    "the choice that separates the validation patients best. Needs patients.",
)
@click.option(
    "--top-k",
    metavar="K",
    type=click.IntRange(1),
    show_default="3",
    help="Number of slices of --aggregate top-k, also as a candidate of auto.",
)
@_setting(
    "--novelty-quantile",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Share of the validation images, and of images like them, that is not flagged as unlike the training images.",
)
@labels_option
@class_name_option
@click.option("--name", help="Name of the run; default: name of the data folder and the time.")
@_setting(
    "--cache-gb",
    type=FiniteRange(0),
    help="GB of resized images to keep in memory per machine; further images are decoded each time.",
)
@_setting(
    "--devices",
    type=click.IntRange(1),
    show_default="1; those that torchrun or srun started",
    help="Number of GPUs, or of CPU processes, per machine.",
)
@_setting(
    "--nodes",
    type=click.IntRange(1),
    show_default="1; those that torchrun or srun started",
    help="Number of machines, started by a launcher.",
)
@threads_option
@click.option("--compile", is_flag=True, help="Use torch.compile: pays off on GPUs and long runs.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard files to the run's folder, too.")
@click.option(
    "--preview",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PNG",
    help="Write a contact sheet of the network's input, and stop.",
)
@click.option(
    "--resume",
    "resumed",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run to resume that was killed or stopped; takes no other option.",
)
@click.pass_context
def train(
    ctx: click.Context,
    /,
    data: Path | None,
    image_size: int,
    color: Color,
    crop: Crop,
    resize: Resize,
    intensity: Intensity,
    labels: Path | None,
    class_names: dict[str, str],
    name: str | None,
    preview: Path | None,
    resumed: Path | None,
    **settings: Any,
) -> None:
    """Train a classifier on a folder of CT images.

    The run is written to runs/NAME/. DATA contains train, valid (optional) and test (optional) folders with a folder
    for each class, or only class folders, which are then split; or it is a MedMNIST .npz file; or --labels names a CSV
    file with a row for each image. From pretrained weights, the head is trained first, then the last stages with it;
    with --weights none, the whole network is trained at once.

    All images of a patient are in one split. Patients come from the column patient of --labels, else from
    --group-regex, else from DICOM headers; identifiers are written as pseudonyms only.

    Ctrl-C after an epoch keeps the best weights so far as a complete run. --resume continues a run that was stopped or
    killed.

    \b
    Examples:
      ctonnx train chest-ct
      ctonnx train chest-ct --weights none --image-size 128 --epochs 30 --drop-leaks
      ctonnx train chest-ct --folds 5 --group-regex "patient_(\\d+)"
      ctonnx train --labels export/labels.csv
      ctonnx train chest-ct --preview augmented.png
      ctonnx train --resume runs/chest-ct-20260101-120000
    """
    from ctonnx_train.data.image_folder import read_data
    from ctonnx_train.network.openmp import load_pytorch

    if resumed is not None:
        reject_other_options(ctx)
        load_pytorch(**_planned(resumed))
        from ctonnx_train.training.train import resume

        _show(ctx, resume(resumed, log=log))
        return
    if data is None and labels is None:
        raise click.UsageError("expected DATA, --labels CSV or --resume RUN, found none of them", ctx)
    if settings["top_k"] and settings["aggregate"] not in ("auto", "top-k"):
        raise click.UsageError(f"expected --top-k with --aggregate top-k, found {settings['aggregate']}", ctx)
    data = dataset_folder(data, labels)
    settings["augmentation"] = settings["augmentation"] or default_augmentation(settings["weights"])
    found = read_data(data, class_names=class_names, labels=labels)  # before the seconds that PyTorch takes to load
    preprocessing = Preprocessing(size=image_size, color=color, crop=crop, resize=resize, intensity=intensity)
    if preview is not None:
        from ctonnx.system.temporary_files import remove_leftovers
        from ctonnx_train.training.preview import write_preview

        remove_leftovers([preview.parent], log)
        images = write_preview(
            preview,
            found,
            preprocessing=preprocessing,
            seed=settings["seed"],
            weights=settings["weights"],
            kind=settings["augmentation"],
        )
        click.echo(f"{preview}: {images} training images, each as it is and augmented")
        return
    if launched := launched_processes():
        settings |= {
            option: number
            for option, number in zip(("devices", "nodes"), launched, strict=True)
            if ctx.get_parameter_source(option) is ParameterSource.DEFAULT
        }
    processes = settings["devices"] * settings["nodes"]
    load_pytorch(threads=settings["threads"], processes=processes, compiles=settings["compile"])
    from ctonnx_train.training.train import train as run_training

    if settings["folds"] and processes > 1:
        raise click.UsageError("expected --folds with one process, found --devices or --nodes of more", ctx)
    settings["batch_size"] = settings["batch_size"] or default_batch_size(settings["weights"])
    result = run_training(
        data,
        labels=labels,
        found=found,
        settings=TrainSettings(**settings),
        preprocessing=preprocessing,
        class_names=class_names,
        name=name,
        log=log,
    )
    _show(ctx, result)


@dataclass(frozen=True, kw_only=True)
class _PlannedSettings:
    """Settings of a run that are needed before PyTorch is loaded; an earlier release did not store `threads`."""

    devices: int
    nodes: int
    compile: bool
    threads: int | None = None


@dataclass(frozen=True)
class _Planned:
    settings: _PlannedSettings


def _planned(run: Path) -> dict[str, Any]:
    """Returns the arguments of `load_pytorch` for a run to resume, as far as they can be read."""
    from ctonnx.artifacts import json_schema
    from ctonnx.artifacts.run import RUNS, Run

    for found in (Run(run), Run(RUNS / run)):
        try:
            settings = json_schema.load(_Planned, found.plan_file).settings
        except (OSError, ValueError):  # reading the run reports the error
            continue
        processes = settings.devices * settings.nodes
        return {"threads": settings.threads, "processes": processes, "compiles": settings.compile}
    return {"threads": None, "processes": 0, "compiles": False}


def _show(ctx: click.Context, result: "TrainResult") -> None:
    """Prints the metrics and the next command, in the main process only."""
    from ctonnx_train.training.loop.distributed import is_main_process
    from ctonnx_train.training.results.report import summary

    if not is_main_process():
        return
    for line in summary(result.record, result.leaks):
        click.echo(line)
    if result.interrupted:
        click.echo(f"{result.run.folder}: stopped early; resume with: ctonnx train --resume {result.run.folder}")
        ctx.exit(130)
    click.echo(f"{result.run.folder}: wrote checkpoint, run.json, metrics.csv and evaluation; next: ctonnx export")
