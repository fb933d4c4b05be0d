"""`ctonnx verify`: replay a model's golden inputs on this device."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ctonnx.session import Provider

__all__ = ["verify"]

_FIGURES = {
    "agreement": "same most probable class",
    "max_dp": "max |dp|",
    "mean_dp": "mean |dp|",
    "max_dlogit": "max |dlogit|",
    "heatmap_correlation": "heatmap correlation",
}


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--golden", type=click.Path(path_type=Path), help="Golden inputs; default: golden.npz beside the model.")
@click.option(
    "--provider", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="What the model runs on."
)
@click.option("--threads", type=click.IntRange(1), help="For the model; default: every core this process may use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def verify(model: Path | None, golden: Path | None, provider: "Provider", threads: int | None, as_json: bool) -> None:
    """Replay a model's golden inputs on this device.

    MODEL is an .onnx file or a run; without it, the newest run's model is taken. Its answers for the images in
    golden.npz are compared with PyTorch's, and with its own where it was exported. Where they disagree, or the file is
    not the one that was exported, the exit code is 1.

    \b
    Examples:
      ctonnx verify
      ctonnx verify model.int8.onnx --provider cpu --threads 2
    """
    from ctonnx.runs import find_model
    from ctonnx.verification import verify as run_verification
    from ctonnx.writing import json_text

    path = find_model(model, provider=provider)
    if model is None:
        click.echo(f"model: {path} (the newest run's)", err=True)
    result = run_verification(path, golden=golden, provider=provider, threads=threads)
    if as_json:
        facts = {
            "model": str(path),
            "provider": provider,
            "precision": result.precision,
            "images": result.with_pytorch.images,
            "with_pytorch": asdict(result.with_pytorch),
            "with_export": asdict(result.with_export),
            "failures": list(result.failures),
        }
        click.echo(json_text(facts), nl=False)
    else:
        click.echo(f"{result.precision} on {provider}, {result.with_pytorch.images} golden inputs")
        click.echo(f"{'':24}  {'PyTorch':>12}  {'its export':>12}")
        for name, title in _FIGURES.items():
            values = (getattr(result.with_pytorch, name), getattr(result.with_export, name))
            click.echo(f"{title:24}  " + "  ".join(f"{_shown(name, value):>12}" for value in values))
        click.echo("verified" if not result.failures else "NOT VERIFIED: " + "; ".join(result.failures))
    if result.failures:
        click.get_current_context().exit(1)


def _shown(name: str, value: float) -> str:
    return f"{value:.2%}" if name == "agreement" else f"{value:.3g}"
