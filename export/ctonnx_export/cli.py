"""`ctonnx export`: exports a run to ONNX models that agree with it."""

from importlib.util import find_spec
from pathlib import Path

import click

from ctonnx.artifacts.report_schema import PRECISIONS, TARGETS, Precision, Target
from ctonnx.cli.options import FiniteRange, threads_option
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.parity.rounding import share_of_percent, shown
from ctonnx_export.quantization.settings import Quantization

__all__ = ["export"]

_GATE = GATES["int8"]  # FP16's has the same agreement and drop

_JUDGED = {
    "all": "",
    "halves": " that did not choose it",
    "folds": " in folds, each by what the others chose",
    "none": ", which chose it, too",
}
"""Images that judge a model, after their number."""

_OF_SOME_PRECISIONS = (
    "target",
    "calibrate",
    "labels",
    "samples",
    "finetune",
    "finetune_epochs",
    "min_agreement",
    "max_drop",
    "images",
)
"""Options that only some precisions use."""


def _precisions(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[Precision, ...]:
    names = PRECISIONS if value == "all" else tuple(name.strip() for name in value.split(","))
    if unknown := [name for name in names if name not in PRECISIONS]:
        raise click.BadParameter(f"expected {', '.join(PRECISIONS)}, joined by commas, or all; found '{unknown[0]}'")
    return tuple(name for name in PRECISIONS if name in names)


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
    help="Precisions to export, separated by commas. FP32 is always exported, as the reference of the others.",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default=Quantization.target,
    show_default=True,
    help="Processor that INT8 is quantized for; amx is x86 with AMX (Xeon Scalable from the 4th generation).",
)
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path, exists=True),
    help="Calibration images of INT8: a dataset or any folder of images; default: the run's training images.",
)
@click.option(
    "--labels",
    metavar="CSV",
    type=click.Path(path_type=Path),
    help="Labels file of the images of --calibrate, as for train; without --calibrate, of those in its folder.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=Quantization.samples,
    show_default=True,
    help="Number of calibration images, balanced over the classes.",
)
@click.option(
    "--finetune",
    is_flag=True,
    help="Train the weights and scales of INT8 on the outputs of FP32 for the calibration images, and keep the result "
    "if it agrees better: minutes more, on two cores. For a network that INT8 rounds badly.",
)
@click.option(
    "--finetune-epochs",
    type=click.IntRange(1),
    default=Quantization.finetune_epochs,
    show_default=True,
    help="Number of passes of --finetune over the calibration images.",
)
@click.option(
    "--min-agreement",
    type=FiniteRange(0, 100),
    callback=_share_of_points,
    metavar="PERCENT",
    help=f"Minimum top-1 agreement of FP16 and INT8 with FP32; default: {_GATE.min_agreement * 100:g}.",
)
@click.option(
    "--max-drop",
    type=FiniteRange(0, 100),
    callback=_share_of_points,
    metavar="POINTS",
    help=f"Maximum loss of accuracy of FP16 and INT8, in percentage points; default: {(_GATE.max_drop or 0) * 100:g}.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder or .npz file with the run's images; default: its location at training.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder of further scans, without labels, on which FP16 and INT8 are compared with FP32: any that predict "
    "reads, such as --images /data/ct-of-this-site. Images that the run or the calibration uses are left out.",
)
@click.option(
    "--ensemble",
    is_flag=True,
    help="Export the networks of the run's folds (train --folds) as one model, whose probabilities are the mean of "
    "the networks'. With 5 folds it takes up to 5 times the computation and the disk space of one network.",
)
@threads_option
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Export folder; default: RUN/export.")
@click.option(
    "--triton",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="New or empty folder, outside of the export folder, for a model repository for Triton Inference Server. INT8 "
    "is served on the CPU, or on a GPU with --target tensorrt.",
)
def export(
    run: Path | None,
    precisions: tuple[Precision, ...],
    target: Target,
    calibrate: Path | None,
    labels: Path | None,
    samples: int,
    finetune: bool,
    finetune_epochs: int,
    min_agreement: float | None,
    max_drop: float | None,
    data: Path | None,
    images: Path | None,
    ensemble: bool,
    threads: int | None,
    output: Path | None,
    triton: Path | None,
) -> None:
    """Export a trained run to ONNX, each precision only if it agrees.

    RUN is the folder or name of a run (default: the newest). The FP32 model is compared with its PyTorch original on
    all validation images; if a probability differs by more than 1e-4, nothing is written and the exit code is 1. FP16
    and INT8 are compared with FP32 on these, on training images that calibration did not use, and on those of --images.
    INT8 is chosen on some of the images and judged on others. A model that fails its gate is not written, report.md
    gives the reason, and the exit code is 1; an earlier export that contains this precision is kept.

    \b
    Examples:
      ctonnx export
      ctonnx export --precision all
      ctonnx export --precision int8 --images /data/ct-of-this-site
      ctonnx export --precision int8 --finetune
      ctonnx export runs/lungs --precision int8 --target arm --output lungs-model
      ctonnx export runs/lungs-in-folds --ensemble --output lungs-ensemble
    """
    from ctonnx.artifacts.run import find_run
    from ctonnx.errors import CheckFailed
    from ctonnx.parity.comparison import MAX_DP
    from ctonnx.system.cpu import has_amx
    from ctonnx.system.temporary_files import remove_leftovers
    from ctonnx_export.triton import check_empty, check_separate, write_repository
    from ctonnx_train.network.openmp import use_passive_waiting

    def log(line: str) -> None:
        click.echo(line, err=True)

    use_passive_waiting()  # before PyTorch is loaded
    _check_unused_options(precisions, finetune=finetune)
    found = find_run(run)
    if triton is not None:
        remove_leftovers([triton.parent], log)
        check_separate(triton, output or found.export_folder)
        check_empty(triton)

    for package in (
        "onnx",
        "onnxscript",
        "onnxsim",
    ):  # `train` has one of them; the rest come late
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    from ctonnx_export.export import export_run  # imports PyTorch: seconds, after the checks that do not need it

    if run is None:
        log(f"newest run: {found.folder}")
    result = export_run(
        found,
        precisions=precisions,
        data=data,
        output=output,
        quantization=Quantization(
            target=target,
            calibrate=calibrate or (labels.parent if labels else None),
            labels=labels,
            samples=samples,
            finetune=finetune,
            finetune_epochs=finetune_epochs,
        ),
        max_drop=max_drop,
        min_agreement=min_agreement,
        images=images,
        ensemble=ensemble,
        threads=threads,
        log=log,
    )
    for model in result.written:
        parity, file = model.spec.parity, result.file(model)
        max_dp = shown(parity["max_dp"], model.gate.max_dp, digits=2)
        ends = parity.get("agreement_interval", ())  # FP32 has none
        agreement, *ends = (
            shown(value, model.gate.min_agreement, digits=2, form="%") for value in (parity["agreement"], *ends)
        )
        click.echo(
            f"{model.precision}: gate passed: max |dp| {max_dp}, agreement {agreement}"
            f"{f' [{ends[0]}, {ends[1]}]' if ends else ''} on {parity['images']} images"
            f"{_JUDGED[parity.get('judged', {}).get('method', 'all')]}; {file} ({file.stat().st_size / 1e6:.1f} MB)"
        )
        if model.trial and (unshown := model.gate.unshown(model.trial.parity, model.trial.change)):
            click.echo(f"{model.precision}: the 95 % interval does not confirm {'; nor '.join(unshown)}")
    if result.written:
        click.echo(MAX_DP)
    if not result.kept:
        if triton is not None:
            write_repository(triton, [(model.spec, result.file(model)) for model in result.written])
            click.echo(f"{triton}: Triton model repository with {len(result.written)} models")
        click.echo(f"{result.folder}: also contains golden inputs, report.md and a model card (README.md)")
        click.echo("golden.npz contains pixels of validation images: treat it like the images themselves")
    if rejected := result.rejected:
        raise CheckFailed(
            "; ".join(f"{model.precision} failed its gate: {', '.join(model.failures)}" for model in rejected)
            + (
                f". Nothing was written: the earlier export in '{result.folder}' contains this precision and was kept; "
                f"choose another --output for the models that passed; for suggestions see {result.report}"
                if result.kept
                else f". Not written; for suggestions see {result.report}"
            )
        )
    if target == "x86" and has_amx() and any(model.precision == "int8" for model in result.written):
        click.echo("this processor has AMX: INT8 for --target amx gives the same outputs, faster")
    named = "" if output is None and run is None else f" {output or found.folder}"
    chosen = f" --model{named}" if named else ""
    click.echo(f"next: ctonnx verify{named}, ctonnx predict{chosen} DIR")


def _check_unused_options(precisions: tuple[Precision, ...], *, finetune: bool) -> None:
    """Raises a usage error if an option is given that nothing uses: none of the precisions, or no fine-tuning."""
    ctx = click.get_current_context()
    for name in _OF_SOME_PRECISIONS:
        users = ("fp16", "int8") if name in ("min_agreement", "max_drop", "images") else ("int8",)
        given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if given and not set(users).intersection(precisions):
            raise click.UsageError(
                f"expected --precision {' or '.join(users)} with --{name.replace('_', '-')}, found "
                f"--precision {','.join(precisions)}",
                ctx,
            )
        if given and name == "finetune_epochs" and not finetune:
            raise click.UsageError("expected --finetune with --finetune-epochs, found none", ctx)
