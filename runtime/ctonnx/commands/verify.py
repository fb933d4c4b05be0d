"""`ctonnx verify`: replay the golden inputs of exported models on this device."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctonnx.commands.options import provider_option, threads_option

if TYPE_CHECKING:
    from ctonnx.parity import Gate
    from ctonnx.session import Provider
    from ctonnx.verification import Verification

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
@provider_option
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def verify(model: Path | None, golden: Path | None, provider: "Provider", threads: int | None, as_json: bool) -> None:
    """Replay a model's golden inputs on this device.

    MODEL is an .onnx file, an export's folder or a run, of which every model is verified; without it, the newest run is
    taken. The answers for the images in golden.npz are compared with PyTorch's, and with the model's own where it was
    exported. Where they disagree, or a file is not the one that was exported, the exit code is 1; where there is else
    nothing to replay, or it cannot be read, it is 2.

    \b
    Examples:
      ctonnx verify
      ctonnx verify model.int8.onnx --provider cpu --threads 2
    """
    from ctonnx.errors import CtonnxError, ProviderError
    from ctonnx.runs import find_models
    from ctonnx.verification import verify as run_verification
    from ctonnx.writing import json_text

    found: list[dict[str, Any]] = []
    texts: list[str] = []
    refused: list[ProviderError] = []
    codes = set()
    paths = find_models(model)
    for path in paths:
        try:
            result = run_verification(path, golden=golden, provider=provider, threads=threads)
        except CtonnxError as error:
            if len(paths) == 1 and not as_json:
                raise
            codes.add(error.exit_code)
            found.append({"model": str(path), "failures": [str(error)]})
            texts += [f"{path}:", f"  NOT VERIFIED: {error}"]
            refused += [error] if isinstance(error, ProviderError) else []
        else:
            codes.add(1 if result.failures else 0)
            found.append(_facts(result))
            texts += _table(result)
        # What keeps every model from this provider is said once, as an error.
        if len(found) != len(refused) or len({str(error) for error in refused}) > 1:
            if not as_json:
                click.echo("\n".join(texts))
            texts.clear()
    if texts and not as_json:
        raise refused[0]
    if as_json:
        click.echo(json_text({"verified": codes == {0}, "models": found}), nl=False)
    if codes != {0}:
        click.get_current_context().exit(1 if 1 in codes else 2)


def _table(result: "Verification") -> Iterator[str]:
    yield f"{result.model}: {result.precision} on {result.provider}, {result.with_pytorch.images} golden inputs"
    yield f"  {'against':24}" + "".join(f"{title:>14}" for title in ("PyTorch", "limit", "its export", "limit"))
    for name, title in _FIGURES.items():
        cells = (
            _shown(name, getattr(result.with_pytorch, name)),
            _limit(name, result.pytorch_gate),
            _shown(name, getattr(result.with_export, name)),
            _limit(name, result.export_gate),
        )
        yield f"  {title:24}" + "".join(f"{cell:>14}" for cell in cells)
    yield "  verified" if not result.failures else "  NOT VERIFIED: " + "; ".join(result.failures)


def _facts(result: "Verification") -> dict[str, Any]:
    return {**asdict(result), "model": str(result.model), "images": result.with_pytorch.images}


def _shown(name: str, value: float) -> str:
    return f"{value:.2%}" if name == "agreement" else f"{value:.3g}"


def _limit(name: str, gate: "Gate | None") -> str:
    """Returns what a gate asks of a figure, or a dash where it asks nothing."""
    if gate is None:
        return "-"
    if name == "max_dp" and gate.max_dp < 1:
        return f"<= {gate.max_dp:g}"
    least = {"agreement": (gate.min_agreement, 0), "heatmap_correlation": (gate.min_heatmap_correlation, -1)}
    bound, loosest = least.get(name, (0, 0))
    return f">= {_shown(name, bound)}" if bound > loosest else "-"
