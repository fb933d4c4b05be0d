"""`ctonnx train`: from a data folder to a run with a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctonnx.cli.options import FiniteRange, threads_option
from ctonnx_train.cli.options import class_name_option

if TYPE_CHECKING:
    from ctonnx.artifacts.operating_point import OperatingPoint
    from ctonnx.images.preprocessing import Color, Resize
    from ctonnx_train.training.recipe import Imbalance, Monitor, Precision
    from ctonnx_train.training.train import TrainResult

__all__ = ["train"]


@click.command()
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|none|FILE",
    help="What the backbone starts from; FILE is a ResNet50's .safetensors, .pth, .pt, .bin or .ckpt.",
)
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="At most, over both phases.")
@click.option(
    "--batch-size",
    type=click.IntRange(2),
    show_default="32; 24 with --weights none",
    help="Images a step on each device.",
)
@click.option("--image-size", type=click.IntRange(32, 4096), default=224, show_default=True, help="In pixels.")
@click.option(
    "--full-size",
    is_flag=True,
    help="Whole-size images in every epoch, where --weights none begins with small ones: slower, for small findings.",
)
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
    type=click.Choice(["auto", "bf16", "fp16", "fp32"]),
    default="auto",
    show_default=True,
    help="auto takes bf16 where the device computes in it, fp16 on other CUDA GPUs.",
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
    "--monitor",
    type=click.Choice(["loss", "accuracy", "balanced_accuracy", "macro_auroc", "macro_f1"]),
    default="loss",
    show_default=True,
    help="What of the validation images chooses the best epoch.",
)
@click.option(
    "--imbalance",
    type=click.Choice(["loss", "sampler", "none"]),
    default="loss",
    show_default=True,
    help="Rare classes weigh more in the loss, are drawn more often, or neither.",
)
@click.option(
    "--drop-leaks",
    is_flag=True,
    help="Keep copies of earlier splits' images out of valid and test, and copies with different labels out of train.",
)
@click.option(
    "--group-regex",
    metavar="REGEX",
    help="What names an image's group in its path, such as the patient: a group is kept in one split.",
)
@click.option("--positive", metavar="CLASS", multiple=True, help="A suspicious class; default: all but normal, benign.")
@click.option(
    "--sensitivity",
    type=FiniteRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="That the threshold for suspicious reaches on the validation images.",
)
@class_name_option
@click.option("--name", help="The run's name; default: the data folder's name and the time.")
@click.option(
    "--cache-gb",
    type=FiniteRange(0),
    default=8.0,
    show_default=True,
    help="GB of resized images to keep in memory on a machine; what is more is decoded each time.",
)
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="GPUs, or CPU processes.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines, started by a launcher.")
@threads_option
@click.option("--compile", "compile_network", is_flag=True, help="Use torch.compile: pays off on GPUs and long runs.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's files to the run's folder too.")
@click.option(
    "--preview",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PNG",
    help="Write a contact sheet of what the network would see, and stop.",
)
@click.option(
    "--resume",
    "resumed",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with a run that was killed or stopped; takes nothing else.",
)
@click.pass_context
def train(
    ctx: click.Context,
    data: Path | None,
    weights: str,
    epochs: int,
    batch_size: int | None,
    image_size: int,
    full_size: bool,
    color: "Color",
    resize: "Resize",
    seed: int,
    precision: "Precision",
    unfreeze_from: str,
    patience: int,
    monitor: "Monitor",
    imbalance: "Imbalance",
    drop_leaks: bool,
    group_regex: str | None,
    positive: tuple[str, ...],
    sensitivity: float,
    class_names: dict[str, str],
    name: str | None,
    cache_gb: float,
    devices: int,
    nodes: int,
    threads: int | None,
    compile_network: bool,
    tensorboard: bool,
    preview: Path | None,
    resumed: Path | None,
) -> None:
    """Train a classifier on a folder of CT images.

    The run is written to runs/NAME/. DATA holds train, valid (optional) and test (optional) folders with a folder for
    each class, or class folders alone, which are then split; or is a MedMNIST .npz file. From pretrained weights, first
    the head learns, then the last stages with it; with --weights none the whole network learns at once.

    Ctrl-C after an epoch keeps the best weights so far as a whole run. A run that was stopped or killed goes on with
    --resume.

    \b
    Examples:
      ctonnx train chest-ct
      ctonnx train chest-ct --weights none --image-size 128 --epochs 30 --drop-leaks
      ctonnx train chest-ct --preview augmented.png
      ctonnx train --resume runs/chest-ct-20260101-120000
    """
    from ctonnx.images import Preprocessing
    from ctonnx_train.network.openmp import load_pytorch

    def log(line: str) -> None:
        click.echo(line, err=True)

    if resumed is not None:
        _refuse_other_options(ctx)
        load_pytorch(**_told(resumed))
        from ctonnx_train.training.train import resume

        _show(ctx, resume(resumed, log=log))
        return
    if data is None:
        raise click.UsageError("expected DATA or --resume RUN, found neither", ctx)
    _refuse_unreadable(data, class_names)  # before the seconds that PyTorch takes to load
    preprocessing = Preprocessing(size=image_size, color=color, resize=resize)
    if preview is not None:
        from ctonnx.system.temporary_files import remove_leftovers
        from ctonnx_train.training.preview import write_preview

        remove_leftovers([preview.parent], log)
        images = write_preview(
            preview, data, preprocessing=preprocessing, class_names=class_names, seed=seed, weights=weights
        )
        click.echo(f"{preview}: {images} training images, each as it is and as augmentation shows it to the network")
        return
    load_pytorch(threads=threads, processes=devices * nodes, compiles=compile_network)
    from ctonnx_train.training.recipe import TrainSettings, default_batch_size
    from ctonnx_train.training.train import train as run_training

    result = run_training(
        data,
        settings=TrainSettings(
            weights=weights,
            epochs=epochs,
            batch_size=batch_size or default_batch_size(weights),
            seed=seed,
            precision=precision,
            unfreeze_from=unfreeze_from,
            patience=patience,
            monitor=monitor,
            imbalance=imbalance,
            drop_leaks=drop_leaks,
            group_regex=group_regex,
            positive=positive,
            sensitivity=sensitivity,
            cache_gb=cache_gb,
            devices=devices,
            nodes=nodes,
            threads=threads,
            full_size=full_size,
            compile=compile_network,
            tensorboard=tensorboard,
        ),
        preprocessing=preprocessing,
        class_names=class_names,
        name=name,
        log=log,
    )
    _show(ctx, result)


@dataclass(frozen=True, kw_only=True)
class _ToldSettings:
    """What of a run's settings is needed before PyTorch is loaded; an earlier release kept no threads."""

    devices: int
    nodes: int
    compile: bool
    threads: int | None = None


@dataclass(frozen=True)
class _Told:
    settings: _ToldSettings


def _told(run: Path) -> dict[str, Any]:
    """Returns what a run that is resumed was told of its threads and processes, as far as it can be read."""
    from ctonnx.artifacts import json_schema
    from ctonnx.artifacts.run import RUNS, Run

    for found in (Run(run), Run(RUNS / run)):
        try:
            told = json_schema.load(_Told, found.plan_file).settings
        except (OSError, ValueError):  # what is wrong is said when the run is read
            continue
        return {"threads": told.threads, "processes": told.devices * told.nodes, "compiles": told.compile}
    return {"threads": None, "processes": 0, "compiles": False}


def _refuse_other_options(ctx: click.Context) -> None:
    """Ends the command where something besides --resume was given: the run keeps what it was told."""
    default = click.core.ParameterSource.DEFAULT
    given = [
        "DATA" if isinstance(parameter, click.Argument) else parameter.get_error_hint(ctx)
        for parameter in ctx.command.params
        if parameter.name != "resumed" and ctx.get_parameter_source(parameter.name or "") is not default
    ]
    if given:
        raise click.UsageError(
            f"expected --resume RUN alone, found {given[0]} too; the run keeps what it was told", ctx
        )


def _refuse_unreadable(data: Path, class_names: dict[str, str]) -> None:
    from ctonnx_train.data.image_folder import read_data

    read_data(data, class_names=class_names)


def _show(ctx: click.Context, result: "TrainResult") -> None:
    """Prints the figures; the process that the user started does, in a training of several."""
    from ctonnx.artifacts.caveats import model_caveats
    from ctonnx_train.evaluation.metrics import format_metrics
    from ctonnx_train.training.loop.distributed import is_main_process

    if not is_main_process():
        return
    titles = {"valid": "validation", "test": "test"}
    for caveat in model_caveats(result.record.metrics, result.record.operating_point):
        click.echo(f"warning: {caveat}")
    for split, metrics in result.record.metrics.items():
        click.echo(format_metrics(titles[split], metrics) + "\n")
    if point := result.record.operating_point:
        click.echo(f"suspicious: {' + '.join(point.positive)} of {point.threshold:.6g} or more{_gap(point)}")
        for split, metrics in result.record.metrics.items():
            figures = [
                f"{name} {_with_interval(metrics['suspicious'], name)}" for name in ("sensitivity", "specificity")
            ]
            fitted = _fitted_on(point) if split == "valid" else ""
            click.echo(f"  {', '.join(figures)} on the {titles[split]} images{fitted}")
        click.echo()
    click.echo(f"data: {result.leaks.sentence()}")
    training = result.record.training
    click.echo(f"{training['seconds_per_epoch']:.1f} s an epoch, of it {training['data_share']:.1%} for data")
    if result.interrupted:
        click.echo(f"{result.run.folder}: stopped early; go on with: ctonnx train --resume {result.run.folder}")
        ctx.exit(130)
    click.echo(f"{result.run.folder}: checkpoint, run.json, metrics.csv and evaluation are there; next, ctonnx export")


def _gap(point: "OperatingPoint") -> str:
    return "" if point.gap is None else f", in the gap from {point.gap[0]:.6g} to {point.gap[1]:.6g}"


def _fitted_on(point: "OperatingPoint") -> str:
    if not point.leaked_images or point.leaked_images_used:
        return ", on which it was fitted"
    return f"; it was fitted without the {point.leaked_images} of these that leaked"


def _with_interval(figures: dict[str, Any], name: str) -> str:
    value, interval = figures[name], figures[f"{name}_interval"]
    return "-" if value is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
