"""`ctonnx compress`: from a trained run to one with a part of its multiplications."""

from importlib.util import find_spec
from pathlib import Path

import click

from ctonnx.cli.options import FiniteRange, threads_option
from ctonnx.parity.rounding import points_text, share_of_percent
from ctonnx_compress.settings import CompressSettings

__all__ = ["compress"]


def _share(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    return share_of_percent(value)


@click.command(context_settings={"show_default": True})
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--operations",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=CompressSettings.operations,
    help="Share of the run's multiplications to leave.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=CompressSettings.steps,
    help="Number of steps; each removes channels and trains the network on the outputs of the original.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=CompressSettings.epochs,
    help="Number of training epochs, over all steps.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(2),
    show_default="that of RUN's training",
    help="Number of images per step.",
)
@click.option(
    "--max-drop",
    type=FiniteRange(0, 100),
    default=float(points_text(CompressSettings.max_drop)),
    callback=_share,
    metavar="POINTS",
    help="Maximum loss of accuracy on the validation images, in percentage points.",
)
@click.option(
    "--min-agreement",
    type=FiniteRange(0, 100),
    default=float(points_text(CompressSettings.min_agreement)),
    callback=_share,
    metavar="PERCENT",
    help="Minimum top-1 agreement with the original on the validation images.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Dataset of the run; default: its location at training.")
@click.option(
    "--labels",
    metavar="CSV",
    type=click.Path(path_type=Path),
    help="Labels file of the images, for a run that was trained with one; default: the one in the dataset's folder.",
)
@click.option("--name", help="Name of the new run; default: RUN's name with the share of the multiplications.")
@threads_option
@click.option(
    "--resume",
    "resumed",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Resume a compression that was stopped or killed, from its last epoch; with no other option.",
)
@click.pass_context
def compress(
    ctx: click.Context,
    run: Path | None,
    operations: float,
    steps: int,
    epochs: int,
    batch_size: int | None,
    max_drop: float,
    min_agreement: float,
    data: Path | None,
    labels: Path | None,
    name: str | None,
    threads: int | None,
    resumed: Path | None,
) -> None:
    """Make a run smaller: fewer channels, the same outputs.

    RUN is the folder or name of a trained run (default: the newest). In each step, the channels that are least
    important for the training images are removed, and the rest is trained on the outputs of the original. The result
    is a run like any other, for evaluate, export and all that follows. It is compared with the original on the
    validation images; if it does not agree with it, nothing is kept and the exit code is 1.

    \b
    Examples:
      ctonnx compress
      ctonnx compress runs/lungs --operations 0.5 --epochs 40 --name lungs-half
      ctonnx compress --resume runs/lungs-half
    """
    if find_spec("torch_pruning") is None:  # before the seconds that PyTorch takes to load
        raise ModuleNotFoundError("No module named 'torch_pruning'", name="torch_pruning")
    from ctonnx.artifacts.run import find_run
    from ctonnx_train.cli.options import log, reject_other_options
    from ctonnx_train.network.openmp import load_pytorch

    if resumed is not None:
        reject_other_options(ctx)
        load_pytorch(threads=None, processes=1, compiles=False)
        from ctonnx_compress.compress import resume

        result = resume(resumed, log=log)
    else:
        if epochs < steps:
            raise click.UsageError(f"expected an epoch for each of {steps} steps or more, found --epochs {epochs}", ctx)
        found = find_run(run)
        load_pytorch(threads=threads, processes=1, compiles=False)
        from ctonnx_compress.compress import compress as run_compression

        if run is None:
            log(f"newest run: {found.folder}")
        result = run_compression(
            found,
            settings=CompressSettings(
                operations=operations,
                steps=steps,
                epochs=epochs,
                batch_size=batch_size,
                max_drop=max_drop,
                min_agreement=min_agreement,
            ),
            data=data,
            labels=labels,
            threads=threads,
            name=name,
            log=log,
        )
    from ctonnx_compress.compress import REPORT

    parent = result.record.parent or {}
    click.echo(f"{result.run.folder}: {parent['operations']:.1%} of the multiplications of {parent['name']}")
    click.echo(f"wrote checkpoint, run.json, evaluation and {REPORT}; next: ctonnx export {result.run.folder}")
