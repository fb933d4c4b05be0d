"""`ctonnx export`: from a run to ONNX models that agree with it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctonnx.cli.options import FiniteRange, threads_option
from ctonnx.parity.rounding import share_of_percent, shown

if TYPE_CHECKING:
    from ctonnx.artifacts.spec import Precision, Target

__all__ = ["export"]

_PRECISIONS: "tuple[Precision, ...]" = ("fp32", "fp16", "int8")


def _precisions(ctx: click.Context, parameter: click.Parameter, value: str) -> "tuple[Precision, ...]":
    names = _PRECISIONS if value == "all" else tuple(name.strip() for name in value.split(","))
    if unknown := [name for name in names if name not in _PRECISIONS]:
        raise click.BadParameter(f"expected {', '.join(_PRECISIONS)}, joined by commas, or all; found '{unknown[0]}'")
    return tuple(name for name in _PRECISIONS if name in names)


def _share_of_points(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    return None if value is None else share_of_percent(value)


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--precision",
    "precisions",
    default="fp32",
    show_default=True,
    metavar="fp32|fp16|int8|all",
    callback=_precisions,
    help="Joined by commas; FP32 is always made, as the others are made from it and compared with it.",
)
@click.option(
    "--target",
    type=click.Choice(["x86", "amx", "arm", "tensorrt"]),
    default="x86",
    show_default=True,
    help="Where INT8 is to run; amx: on x86 with AMX, as the 4th and later Xeon Scalable have.",
)
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path, exists=True),
    help="Images that INT8 is calibrated on: a data set or any folder; default: the run's training images.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=300,
    show_default=True,
    help="ImageSet to calibrate on, of each class alike.",
)
@click.option(
    "--min-agreement",
    type=FiniteRange(0, 100),
    callback=_share_of_points,
    metavar="PERCENT",
    help="Same most probable class as FP32, that FP16 and INT8 must reach; default: 99.",
)
@click.option(
    "--max-drop",
    type=FiniteRange(0, 100),
    callback=_share_of_points,
    metavar="POINTS",
    help="Percentage points of accuracy that FP16 and INT8 may lose; default: 0.5.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder or .npz file with the run's images; default: where they were at training.",
)
@threads_option
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Folder to write; default: RUN/export.")
@click.option(
    "--triton",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a model repository for Triton Inference Server there too: a new or empty folder, not in the export's. "
    "INT8 is served on the CPU, or with --target tensorrt on a GPU.",
)
def export(
    run: Path | None,
    precisions: "tuple[Precision, ...]",
    target: "Target",
    calibrate: Path | None,
    samples: int,
    min_agreement: float | None,
    max_drop: float | None,
    data: Path | None,
    threads: int | None,
    output: Path | None,
    triton: Path | None,
) -> None:
    """Export a trained run to ONNX, each precision only if it agrees.

    RUN is a run's folder or name (default: the newest). The FP32 model is compared with its PyTorch original on every
    validation image; if a probability differs by more than 1e-4, nothing is written and the exit code is 1. FP16 and
    INT8 are compared with FP32 on these and on training images that calibration did not use; one that does not pass its
    gate is not written, report.md says why, and the exit code is 1. An earlier export that has such a model stays then.

    \b
    Examples:
      ctonnx export
      ctonnx export --precision all
      ctonnx export runs/lungs --precision int8 --target arm --output lungs-model
    """
    from ctonnx.artifacts.run import find_run
    from ctonnx.errors import CheckFailed
    from ctonnx.parity.comparison import MAX_DP
    from ctonnx.system.cpu import has_amx
    from ctonnx.system.temporary_files import remove_leftovers
    from ctonnx_export.triton import refuse_entangled, refuse_filled, write_repository
    from ctonnx_train.network.openmp import use_passive_waiting

    def log(line: str) -> None:
        click.echo(line, err=True)

    use_passive_waiting()  # before PyTorch is loaded
    _refuse_idle_options(precisions)
    found = find_run(run)
    if triton is not None:
        remove_leftovers([triton.parent], log)
        refuse_entangled(triton, output or found.export_folder)
        refuse_filled(triton)

    from ctonnx_export.export import export_run  # PyTorch comes with it: seconds, after what needs none
    from ctonnx_export.quantization.settings import Quantization

    if run is None:
        log(f"newest run: {found.folder}")
    result = export_run(
        found,
        precisions=precisions,
        data=data,
        output=output,
        quantization=Quantization(target=target, calibrate=calibrate, samples=samples),
        max_drop=max_drop,
        min_agreement=min_agreement,
        threads=threads,
        log=log,
    )
    for made in result.written:
        parity, file = made.spec.parity, result.file(made)
        max_dp = shown(parity["max_dp"], made.gate.max_dp, digits=2)
        agreement = shown(parity["agreement"], made.gate.min_agreement, digits=2, form="%")
        click.echo(
            f"{made.precision}: gate passed: max |dp| {max_dp}, agreement {agreement} on "
            f"{parity['images']} images; {file} ({file.stat().st_size / 1e6:.1f} MB)"
        )
        if made.trial and (unshown := made.gate.unshown(made.trial.parity, made.trial.change)):
            click.echo(f"{made.precision}: the 95 % interval does not show {'; nor '.join(unshown)}")
    if result.written:
        click.echo(MAX_DP)
    if not result.kept:
        if triton is not None:
            write_repository(triton, [(made.spec, result.file(made)) for made in result.written])
            click.echo(f"{triton}: a Triton model repository of {len(result.written)} models")
        click.echo(f"{result.folder}: golden inputs, report.md and a model card (README.md) are beside them")
        click.echo("golden.npz holds pixels of validation images: treat it as you treat the images")
    if refused := result.refused:
        raise CheckFailed(
            "; ".join(f"{made.precision} was refused: {', '.join(made.failures)}" for made in refused)
            + (
                f". Nothing was written: the earlier export in '{result.folder}', which has such a model, stays as it "
                f"was; for the models that passed choose another --output; what to try stands in {result.report}"
                if result.kept
                else f". It was not written; what to try stands in {result.report}"
            )
        )
    if target == "x86" and has_amx() and any(made.precision == "int8" for made in result.written):
        click.echo(
            "this processor has AMX: INT8 of --target amx, made of the same images, gives the same answers, faster"
        )
    named = "" if output is None and run is None else f" {output or found.folder}"
    chosen = f" --model{named}" if named else ""
    click.echo(f"next: ctonnx verify{named}, ctonnx predict{chosen} DIR")


def _refuse_idle_options(precisions: "tuple[Precision, ...]") -> None:
    """Ends the command where an option was given that has nothing to act on."""
    ctx = click.get_current_context()
    needs = {
        "target": {"int8"},
        "calibrate": {"int8"},
        "samples": {"int8"},
        "min_agreement": {"fp16", "int8"},
        "max_drop": {"fp16", "int8"},
    }
    for name, any_of in needs.items():
        given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if given and not any_of.intersection(precisions):
            raise click.UsageError(
                f"expected --precision {' or '.join(sorted(any_of))} with --{name.replace('_', '-')}, found "
                f"--precision {','.join(precisions)}",
                ctx,
            )
