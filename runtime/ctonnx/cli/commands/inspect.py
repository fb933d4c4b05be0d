"""`ctonnx inspect`: shows the metadata of an exported model."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctonnx.artifacts.provenance.signature import SIGNATURE_FILE, claims_in, read_signature
from ctonnx.artifacts.run import names_a_file
from ctonnx.cli.model_banner import show_newer_run
from ctonnx.cli.options import json_option
from ctonnx.system.files import json_text
from ctonnx.system.text import counted

if TYPE_CHECKING:
    from ctonnx.artifacts.spec import ModelSpec

__all__ = ["inspect"]

_ABOUT = ("file", "name", "precision", "created", "synthetic", "classes")
_DECISION = ("operating_point", "prediction_sets", "novelty", "brightness")


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@json_option
@click.option(
    "--bom",
    is_flag=True,
    help="Print the machine-learning bill of materials, in CycloneDX's JSON format, instead.",
)
def inspect(model: Path | None, as_json: bool, bom: bool) -> None:
    """Show the metadata of an exported model.

    MODEL is an .onnx file or a run; default: the newest run with an export. Prints what the file is, whether it was
    verified, how it decides with its caveats, and then preprocessing, metrics, parity and all else; per-class metrics
    and confusion matrices only with --json. A signature is shown and not checked: ctonnx verify --trust does that.

    --bom lists what the model is made of: its files and their hashes, training data, metrics, parity, libraries and
    parents; of a folder or run, all its models, as in bom.cdx.json of the export.

    \b
    Examples:
      ctonnx inspect runs/lungs/export/model.fp32.onnx
      ctonnx inspect runs/lungs --bom
    """
    from ctonnx.artifacts.caveats import caveats_of, missing_checks
    from ctonnx.artifacts.decision.shortcuts import describe_shortcuts
    from ctonnx.artifacts.spec import describe_history, fitted_on, patients_of
    from ctonnx.inference.session import check_model_file, open_session, read_spec
    from ctonnx.parity.comparison import MAX_DP
    from ctonnx.prediction.model_selection import find_model, newest_export

    path = find_model(model)
    if model is None:
        click.echo(f"model: {path} ({newest_export().description})", err=True)
        show_newer_run()
    if bom:
        if as_json:
            raise click.UsageError("expected --bom without --json, as it is one JSON document, found both")
        check_model_file(path)
        click.echo(json_text(_bom(model)), nl=False)
        return
    session = open_session(path, optimize=False)
    spec = read_spec(session, str(path))
    facts: dict[str, Any] = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "signature": _signature(path),
        "inputs": {item.name: f"{item.type} {item.shape}" for item in session.get_inputs()},
        "outputs": {item.name: f"{item.type} {item.shape}" for item in session.get_outputs()},
        **json.loads(spec.to_json()),
        "caveats": caveats_of(spec),
        "lacks": missing_checks(spec),
        "fitted_on": fitted_on(spec.history),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    caveats, lacks, signature = facts.pop("caveats"), facts.pop("lacks"), facts.pop("signature")
    facts["shortcuts"] = describe_shortcuts(spec.shortcuts)
    del facts["acquisition"], facts["usage"]  # tables, in --json
    if facts["novelty"]:
        del facts["novelty"]["quantiles"]  # 101 numbers
    facts["patient_rule"] = spec.patient_rule and spec.patient_rule.sentence(patients_of(facts["fitted_on"]))
    history = [("history", entry) for entry in describe_history(spec)]
    notes = [*(("caveat", caveat) for caveat in caveats), *([("lacks", lacks)] if lacks else [])]
    details = list(_rows(facts))
    about, decision = (
        [row for name in names for row in details if row[0].partition(".")[0] == name] for names in (_ABOUT, _DECISION)
    )
    others = [row for row in details if row not in about and row not in decision]
    rows = [*about, ("verified", _verified(spec, path)), *decision, *notes, *history]
    rows += [("signature", _signed(signature, path)), *others]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:{width}}  {value}")
    if "max_dp" in spec.parity:
        click.echo(f"parity.max_dp is {MAX_DP}", err=True)


def _verified(spec: "ModelSpec", path: Path) -> str:
    """Returns the result of the export's comparison with PyTorch, and the command that repeats it."""
    images, agreement = (spec.parity.get(name) for name in ("images", "agreement"))
    if not isinstance(images, int) or not isinstance(agreement, int | float):  # a spec may be of an unknown source
        return f"unknown: the file has no comparison with its PyTorch original; ctonnx verify {path}"
    found = f"at export, top-1 agreement {agreement:.3f} with its PyTorch original on {counted(images, 'image')}"
    return f"{found}; on this machine: ctonnx verify {path}"


def _bom(model: Path | None) -> dict[str, Any]:
    """Returns the bill of materials of a named file, or of all models of a folder or run."""
    from ctonnx.artifacts.provenance.bom import bill_of_materials, folder_bom
    from ctonnx.prediction.model_selection import export_folder

    if names_a_file(model):
        return bill_of_materials([model], report=model.parent / "report.json")
    return folder_bom(export_folder(model))


def _signature(path: Path) -> dict[str, Any] | None:
    """Returns the claims of the signature next to a model, or None if there is none; nothing is checked."""
    folder = path.resolve().parent
    content = read_signature(folder)
    if content is None:
        return None
    claims = claims_in(content)
    return {"file": SIGNATURE_FILE, "key": claims.key, "files": sorted(claims.files), "checked": False}


def _signed(signature: Mapping[str, Any] | None, path: Path) -> str:
    """Returns the claims of a signature, and the command that checks it."""
    if signature is None:
        return "none"
    by = f"key sha256:{signature['key']}" if signature["key"] else "an unknown key"
    covered = "" if path.resolve().name in signature["files"] else ", without this file"
    return f"by {by}{covered}, not checked here: ctonnx verify {path} --trust PUBLIC_KEY"


def _rows(facts: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yields name and value of each entry down to the third level, without tables of metrics."""
    for name, value in facts.items():
        inner = list(value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ())
        if isinstance(value, Mapping) and depth < 2:
            yield from _rows(value, f"{prefix}{name}.", depth + 1)
        elif any(isinstance(item, Mapping | list) for item in inner):
            continue
        elif isinstance(value, Mapping):
            yield prefix + name, ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
        elif isinstance(value, list):
            yield prefix + name, ", ".join(map(str, value)) or "none"
        else:
            yield prefix + name, "none" if value is None else str(value)
