"""`ctonnx verify`: replays the golden inputs of exported models on this device."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctonnx.cli.model_banner import show_newer_run
from ctonnx.cli.options import json_option, provider_option, threads_option, trust_option
from ctonnx.parity.rounding import exactly, shown

if TYPE_CHECKING:
    from ctonnx.inference.providers import Provider
    from ctonnx.parity.acceptance_gates import Gate
    from ctonnx.prediction.device.verification import Verification

__all__ = ["verify"]

_MEASURES = {
    "agreement": "top-1 agreement",
    "max_dp": "max |dp|",
    "mean_dp": "mean |dp|",
    "max_dlogit": "max |dlogit|",
    "heatmap_correlation": "heatmap correlation",
    "novelty_correlation": "novelty rank correlation",
    "max_dnovelty": "novelty difference",
    "novelty_agreement": "flagged alike as novel",
}
_AT_MOST = ("max_dp", "max_dnovelty")  # limits that are not minimums


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--golden", type=click.Path(path_type=Path), help="Golden inputs; default: golden.npz next to the model.")
@trust_option
@provider_option
@threads_option
@json_option
def verify(
    model: Path | None,
    golden: Path | None,
    trust: tuple[Path, ...],
    provider: "Provider",
    threads: int | None,
    as_json: bool,
) -> None:
    """Replay a model's golden inputs on this device.

    MODEL is an .onnx file, an export folder or a run; default: the newest run with an export. Every model of a folder
    or run is verified: its outputs for the images in golden.npz are compared with PyTorch's, and with its own at
    export. The exit code is 1 if they disagree or the file is not the exported one, and 2 if there is nothing to replay
    or it cannot be read.

    With --trust, the signature of the folder is checked first: if it is not valid, the exit code is 1 and no model is
    opened.

    \b
    Examples:
      ctonnx verify
      ctonnx verify model.int8.onnx --provider cpu --threads 2
      ctonnx verify lungs-model --trust maker.pub
    """
    from ctonnx.artifacts.provenance.trust import check_signature
    from ctonnx.errors import CheckFailed, CtonnxError, ProviderError, SignatureError
    from ctonnx.prediction.device.verification import verify as run_verification
    from ctonnx.prediction.model_selection import find_models
    from ctonnx.system.files import json_text
    from ctonnx.system.text import counted

    found: list[dict[str, Any]] = []
    texts: list[str] = []
    not_run: list[ProviderError] = []
    codes = set()
    paths = find_models(model)
    if model is None:
        show_newer_run()
    signature: dict[str, Any] = {}
    if trust:
        try:
            signed = check_signature(paths[0].resolve().parent, trust)
        except SignatureError as error:
            if not as_json:
                raise CheckFailed(str(error)) from error
            click.echo(json_text({"verified": False, "signature": {"failure": str(error)}, "models": []}), nl=False)
            click.get_current_context().exit(1)
        signature = {"signature": {"key": signed.key, "files": dict(signed.files)}}
        if not as_json:
            click.echo(f"signature: valid, {counted(len(signed.files), 'file')} by key sha256:{signed.key}")
    for path in paths:
        try:
            result = run_verification(path, golden=golden, provider=provider, threads=threads, trust=trust)
        except CtonnxError as error:
            if len(paths) == 1 and not as_json:
                raise
            codes.add(error.exit_code)
            found.append({"model": str(path), "failures": [str(error)]})
            texts += [f"{path}:", f"  NOT VERIFIED: {error}"]
            not_run += [error] if isinstance(error, ProviderError) else []
        else:
            codes.add(1 if result.failures else 0)
            found.append({**asdict(result), "model": str(path), "images": result.with_pytorch.images})
            texts += _table(result)
        # If the provider runs none of the models, its error is printed once.
        if len(found) != len(not_run) or len({str(error) for error in not_run}) > 1:
            if not as_json:
                click.echo("\n".join(texts))
            texts.clear()
    if texts and not as_json:
        raise not_run[0]
    if as_json:
        click.echo(json_text({"verified": codes == {0}, **signature, "models": found}), nl=False)
    if codes != {0}:
        click.get_current_context().exit(1 if 1 in codes else 2)


def _table(result: "Verification") -> Iterator[str]:
    from ctonnx.parity.comparison import MAX_DP

    images, allowed = result.with_pytorch.images, result.disagreements_allowed
    most = "any number" if allowed is None else f"at most {allowed}"
    computed = "" if result.computed_in == result.precision else f", which computes in {result.computed_in}"
    yield f"{result.model}: {result.precision} on {result.provider}{computed}, {images} golden inputs"
    yield f"  {'against':24}" + "".join(f"{title:>14}" for title in ("PyTorch", "limit", "its export", "limit"))
    for name, title in _MEASURES.items():
        if getattr(result.with_pytorch, name) is None:  # a model without novelty
            continue
        cells: list[str] = []
        for parity, gate in ((result.with_pytorch, result.pytorch_gate), (result.with_export, result.export_gate)):
            bound = _bound(name, gate)
            cells += (_shown(name, getattr(parity, name), bound), _limit(name, bound))
        yield f"  {title:24}" + "".join(f"{cell:>14}" for cell in cells)
    yield f"  {MAX_DP}"
    yield (
        f"  another top-1 class than PyTorch's: {result.disagreements} of {images} images, {most} allowed, as "
        f"{result.allowed_because}"
    )
    yield "  verified" if not result.failures else "  NOT VERIFIED: " + "; ".join(result.failures)


def _shown(name: str, value: float, bound: float | None = None) -> str:
    bounds = () if bound is None else (bound,)
    return shown(value, *bounds, digits=2, form="%") if name.endswith("agreement") else shown(value, *bounds, digits=3)


def _bound(name: str, gate: "Gate") -> float | None:
    """Returns a gate's bound of a measure, or None if it has none."""
    bounds = {
        "max_dp": gate.max_dp if gate.max_dp < 1 else None,
        "agreement": gate.min_agreement if gate.min_agreement > 0 else None,
        "heatmap_correlation": gate.min_heatmap_correlation if gate.min_heatmap_correlation > -1 else None,
        "novelty_correlation": gate.min_novelty_correlation,
        "max_dnovelty": gate.max_dnovelty,
        "novelty_agreement": gate.min_novelty_agreement,
    }
    return bounds.get(name)


def _limit(name: str, bound: float | None) -> str:
    if bound is None:
        return "-"
    return f"<= {exactly(bound)}" if name in _AT_MOST else f">= {_shown(name, bound, bound)}"
