"""`export_run`: from a run to its export folder, which appears only when every gate in it is passed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx import golden
from ctonnx.errors import CheckFailed, CtonnxError, DataError
from ctonnx.golden import Golden, save_golden
from ctonnx.images import Preprocessing
from ctonnx.parity import GATES, Gate, Parity, compare
from ctonnx.runs import Run
from ctonnx.spec import METADATA_KEY, ModelSpec
from ctonnx.writing import whole_folder, write_text
from ctonnx_export.conversion import convert, run_onnx, simplify
from ctonnx_export.graph import DeployGraph, run_pytorch
from ctonnx_export.report import as_json, as_markdown, report
from ctonnx_train.checkpoint import Checkpoint, load_checkpoint
from ctonnx_train.pixels import PixelStore
from ctonnx_train.sources import open_source
from ctonnx_train.splits import Sample

__all__ = ["ExportResult", "export_run"]

_GOLDEN_IMAGES = 8
_LIBRARIES = ("ctonnx", "torch", "onnx", "onnxscript", "onnxsim", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What an export left behind.

    Attributes:
        folder: the export folder.
        model: the ONNX file in it.
        spec: as it stands in the model.
        parity: how far the model's answers lie from PyTorch's on the validation images.
    """

    folder: Path
    model: Path
    spec: ModelSpec
    parity: Parity


def export_run(
    run: Run,
    *,
    data: Path | None = None,
    output: Path | None = None,
    gate: Gate | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ExportResult:
    """Exports a run to FP32 ONNX and writes its export folder, whole or not at all.

    On one machine, the same run, data, libraries and number of threads give the same bytes in every file.

    Args:
        run: with a checkpoint.
        data: the folder, or the MedMNIST `.npz` file, with the run's validation images; None takes the one it was
            trained on.
        output: the folder to write; None takes the run's own.
        gate: that the model must pass against PyTorch on the validation images; None takes FP32's.
        say: called with lines that tell what happens.

    Raises:
        ModelError: the run's checkpoint is damaged.
        DataError: the validation images are not where they were, or cannot be read.
        CheckFailed: the model does not pass its gate; nothing was written.
        CtonnxError: the output folder holds other things than an earlier export.
        OSError: the output folder cannot be written.
    """
    gate = gate or GATES["fp32"]
    output = output or run.export_folder
    _refuse_foreign_folder(output)
    with whole_folder(output) as folder:
        spec, parity = _export(run, data, gate, folder, say)
    return ExportResult(folder=output, model=output / run.model_file("fp32").name, spec=spec, parity=parity)


def _export(
    run: Run, data: Path | None, gate: Gate, folder: Path, say: Callable[[str], None]
) -> tuple[ModelSpec, Parity]:
    """Writes the export's files into a folder that is renamed only when all has gone well."""
    checkpoint = load_checkpoint(run)
    preprocessing = checkpoint.record.preprocessing
    samples = checkpoint.samples("valid")
    say(f"run {run.folder}: {len(checkpoint.record.classes)} classes, {preprocessing.size} pixels")
    pixels = _validation_pixels(checkpoint, samples, data)
    graph = DeployGraph(checkpoint.network, checkpoint.record.temperature)
    reference = run_pytorch(graph, pixels)
    chosen = _golden_rows([sample.label for sample in samples])

    say("converting to ONNX and simplifying")
    simplified = simplify(convert(graph, preprocessing.size), pixels[chosen])
    say(f"parity with PyTorch on {len(pixels)} validation images")
    parity = compare(reference, run_onnx(simplified.model, pixels))
    if failures := gate.failures(parity):
        raise CheckFailed(
            f"the FP32 model of '{run.folder}' does not agree with its PyTorch original on {parity.images} validation "
            f"images: {'; '.join(failures)}. Nothing was written. Look for NaN or very large weights in the "
            "checkpoint, or train again"
        )
    spec = _spec(checkpoint, preprocessing, parity)
    _embed(simplified.model, spec)
    onnx.save(simplified.model, folder / run.model_file("fp32").name)
    save_golden(folder / golden.FILE_NAME, Golden(pixels[chosen], reference[chosen], checkpoint.sha256))
    files = {file.name: _facts(file) for file in sorted(folder.iterdir())}
    facts = report(spec, gate, files, {"onnxsim": simplified.note})
    write_text(folder / "report.json", as_json(facts))
    write_text(folder / "report.md", as_markdown(facts))
    return spec, parity


def _refuse_foreign_folder(output: Path) -> None:
    """Lets only a new or empty folder, or an earlier export with nothing else in it, be replaced."""
    if not output.is_dir():
        return
    found = {file.name for file in output.iterdir()}
    try:
        known = {"report.md", "report.json", *json.loads((output / "report.json").read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        known = set()
    if found - known:
        raise CtonnxError(
            f"expected a new folder or an earlier export at '{output}', found other files "
            f"('{min(found - known)}' first); choose another --output"
        )


def _validation_pixels(checkpoint: Checkpoint, samples: tuple[Sample, ...], data: Path | None) -> NDArray[np.uint8]:
    """Decodes the validation images as the predictor would: uint8 [images, size, size, 3]."""
    root = data or Path(checkpoint.record.data["folder"])
    source = open_source(root)
    missing = [sample.path for sample in samples if not source.has(sample.path)]
    if missing:
        raise DataError(
            f"expected the run's {len(samples)} validation images in '{root}', found {len(missing)} missing "
            f"('{missing[0]}' first); name the folder or file that holds them with --data"
        )
    pixels = PixelStore(source, samples, checkpoint.record.preprocessing).take(range(len(samples)))
    return pixels if pixels.shape[3] == 3 else np.repeat(pixels, 3, axis=3)


def _golden_rows(labels: list[int]) -> NDArray[np.intp]:
    """Chooses up to eight images, turn by turn from each class, in the order of the split."""
    turns = sorted((labels[:row].count(label), label, row) for row, label in enumerate(labels))
    return np.array(sorted(row for _, _, row in turns[:_GOLDEN_IMAGES]), np.intp)


def _spec(checkpoint: Checkpoint, preprocessing: Preprocessing, parity: Parity) -> ModelSpec:
    record = checkpoint.record
    return ModelSpec(
        name=checkpoint.run.name,
        classes=record.classes,
        preprocessing=preprocessing,
        precision="fp32",
        created=record.created,
        checkpoint_sha256=checkpoint.sha256,
        data={name: value for name, value in record.data.items() if name != "folder"},
        synthetic=record.synthetic,
        metrics=record.metrics,
        parity=parity.as_dict(),
        versions={library: version(library) for library in _LIBRARIES},
        temperature=record.temperature,
        operating_point=record.operating_point,
    )


def _embed(model: onnx.ModelProto, spec: ModelSpec) -> None:
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})


def _facts(file: Path) -> dict[str, int | str]:
    with file.open("rb") as handle:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}
