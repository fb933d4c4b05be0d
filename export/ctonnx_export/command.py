"""`ctonnx export`: from a run to an ONNX model that agrees with it."""

from pathlib import Path

import click

__all__ = ["export"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder or .npz file with the run's validation images; default: where they were at training.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Folder to write; default: RUN/export.")
def export(run: Path | None, data: Path | None, output: Path | None) -> None:
    """Export a trained run to ONNX, if it agrees with PyTorch.

    RUN is a run's folder or name (default: the newest). The FP32 model is compared with its PyTorch original on every
    validation image. If a probability differs by more than 1e-4, nothing is written and the exit code is 1.

    \b
    Examples:
      ctonnx export
      ctonnx export runs/lungs --output lungs-model
    """
    from ctonnx.runs import find_run
    from ctonnx_export.exporting import export_run

    def say(line: str) -> None:
        click.echo(line, err=True)

    found = find_run(run)
    if run is None:
        say(f"newest run: {found.folder}")
    result = export_run(found, data=data, output=output, say=say)
    parity = result.parity
    click.echo(
        f"parity passed: max |dp| {parity.max_dp:.2g}, agreement {parity.agreement:.2%} "
        f"on {parity.images} validation images"
    )
    click.echo(f"{result.model} ({result.model.stat().st_size / 1e6:.1f} MB); report and golden inputs are beside it")
    click.echo("golden.npz holds pixels of validation images: treat it as you treat the images")
    click.echo("next: ctonnx predict DIR")
