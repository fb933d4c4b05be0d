"""`export_run`: from a run to its export folder, in which every model has passed its gate."""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from ctonnx.errors import CtonnxError
from ctonnx.golden import FILE_NAME, Golden, save_golden
from ctonnx.leftovers import remove_leftovers
from ctonnx.outputs import Outputs
from ctonnx.parity import GATES
from ctonnx.runs import Run
from ctonnx.writing import json_text, whole_folder, write_text
from ctonnx_export.card import model_card
from ctonnx_export.cautions import cautions
from ctonnx_export.conversion import run_onnx
from ctonnx_export.making import (
    PRECISIONS,
    Made,
    Precision,
    Quantization,
    images_to_compare,
    make_fp16,
    make_fp32,
    make_int8,
)
from ctonnx_export.report import as_markdown, report
from ctonnx_export.samples import calibration_images, validation_images
from ctonnx_train.checkpoint import Checkpoint, load_checkpoint

__all__ = ["ExportResult", "export_run", "model_name"]

_REPORTS = frozenset({"README.md", "report.json", "report.md", "refused.json", "refused.md"})


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What an export left behind.

    Attributes:
        folder: the export folder.
        models: in the order of `PRECISIONS`, those that were refused too.
        kept: whether the folder holds an earlier export still, as this one would have taken a model out of it whose
            like it was refused.
    """

    folder: Path
    models: tuple[Made, ...]
    kept: bool

    @property
    def written(self) -> tuple[Made, ...]:
        """The models that are in the folder: those that passed their gates, or none where an earlier export stays."""
        return () if self.kept else tuple(made for made in self.models if not made.failures)

    @property
    def refused(self) -> tuple[Made, ...]:
        """The models that did not pass."""
        return tuple(made for made in self.models if made.failures)

    @property
    def report(self) -> Path:
        """The Markdown file that tells how the models did."""
        return self.folder / ("refused.md" if self.kept else "report.md")

    def file(self, made: Made) -> Path:
        """Returns the file of a model that was written."""
        return self.folder / model_name(made.precision)


def model_name(precision: str) -> str:
    """Returns the name of a precision's file.

    >>> model_name("int8")
    'model.int8.onnx'
    """
    return Run(Path()).model_file(precision).name


def export_run(
    run: Run,
    *,
    precisions: Collection[Precision] = (),
    data: Path | None = None,
    output: Path | None = None,
    quantization: Quantization | None = None,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ExportResult:
    """Exports a run to ONNX and writes its export folder, whole or not at all.

    On one machine, the same run, data, libraries and number of threads give the same bytes in every file, but for the
    times in the reports of an export that has FP16 or INT8.

    Args:
        run: with a checkpoint.
        precisions: which models to make besides FP32, which is always made.
        data: the folder, or the MedMNIST `.npz` file, with the run's images; None takes the one it was trained on.
        output: the folder to write; None takes the run's own.
        quantization: how INT8 is to be made.
        max_drop: largest loss of accuracy of FP16 and INT8, 0 to 1; None takes their gates'.
        min_agreement: smallest agreement of FP16 and INT8 with FP32, 0 to 1; None takes their gates'.
        say: called with lines that tell what happens.

    Returns:
        What was made; an FP16 or INT8 model that did not pass its gate is told there, and is not in the folder. Where
        an earlier export there holds one of that precision, that export stays whole, with refused.md and refused.json.

    Raises:
        ValueError: a precision is not one of `PRECISIONS`.
        ModelError: the run's checkpoint is damaged.
        DataError: images are not where they were, or cannot be read.
        CheckFailed: the FP32 model does not pass its gate; nothing was written.
        CtonnxError: the output folder holds other things than an earlier export.
        OSError: the output folder cannot be written.
    """
    if unknown := set(precisions) - set(PRECISIONS):
        raise ValueError(f"expected precisions to be of {PRECISIONS}, found {sorted(unknown)}")
    output = output or run.export_folder
    remove_leftovers([output.parent, output], say)
    _refuse_foreign_folder(output)
    chosen = {"max_drop": max_drop, "min_agreement": min_agreement}
    bounds = {name: value for name, value in chosen.items() if value is not None}
    for precision in PRECISIONS[1:]:
        if precision not in precisions and (output / model_name(precision)).exists():
            say(
                f"note: '{output}' holds an earlier export, whose place this one will take; {model_name(precision)} is "
                f"not asked for and goes then; keep it with --precision {','.join([*precisions, precision])}, or "
                "choose another --output"
            )
    checkpoint = load_checkpoint(run)
    _refuse_too_little_space(output, run.weights_file.stat().st_size, 1 + len(set(precisions) - {"fp32"}))
    with whole_folder(output) as folder:
        models, golden = _make(checkpoint, precisions, data, quantization or Quantization(), bounds, say)
        notes = cautions(models)
        for note in notes:
            say(f"note: {note}")
        if kept := any(made.failures and (output / model_name(made.precision)).exists() for made in models):
            shutil.copytree(output, folder, dirs_exist_ok=True)
            _write_reports(folder, "refused", report(models, {}, notes))
        else:
            _write_models(folder, models, golden)
            facts = report(models, {file.name: _facts(file) for file in sorted(folder.iterdir())}, notes)
            _write_reports(folder, "report", facts)
            write_text(folder / "README.md", model_card(facts))
    return ExportResult(folder=output, models=models, kept=kept)


def _make(
    checkpoint: Checkpoint,
    precisions: Collection[Precision],
    data: Path | None,
    quantization: Quantization,
    bounds: dict[str, float],
    say: Callable[[str], None],
) -> tuple[tuple[Made, ...], Golden]:
    """Makes the models, and golden inputs with PyTorch's answers."""
    record = checkpoint.record
    root = data or Path(record.data["folder"])
    say(f"run {checkpoint.run.folder}: {len(record.classes)} classes, {record.preprocessing.size} pixels")
    validation = validation_images(checkpoint, root)
    calibration = None
    if "int8" in precisions:
        calibration = calibration_images(
            checkpoint, root, calibrate=quantization.calibrate, count=quantization.samples, avoid=validation.digests
        )
        if calibration.missing:
            why = "all there are" if quantization.calibrate else "a third of each class is kept to compare on"
            say(f"calibrating on {len(calibration)} images, {calibration.missing} fewer than asked for: {why}")
    fp32, golden = make_fp32(checkpoint, validation, say)
    models = [fp32]
    if {"fp16", "int8"}.intersection(precisions):
        compared = images_to_compare(checkpoint, root, fp32, validation, calibration, say)
        if "fp16" in precisions:
            models.append(make_fp16(fp32, compared, replace(GATES["fp16"], **bounds), say))
        if calibration is not None:
            gate = replace(GATES["int8"], **bounds)
            models.append(make_int8(fp32, compared, calibration, quantization, gate, say))
    return tuple(models), golden


def _write_models(folder: Path, models: Sequence[Made], golden: Golden) -> None:
    """Writes the models that passed their gates, and the golden inputs with their answers."""
    written = [made for made in models if not made.failures]
    for made in written:
        onnx.save(made.model, folder / model_name(made.precision))
    digests: dict[str, str] = {
        made.precision: str(_facts(folder / model_name(made.precision))["sha256"]) for made in written
    }
    answers: dict[str, Outputs] = {made.precision: run_onnx(made.model, [golden.pixels]) for made in written}
    save_golden(folder / FILE_NAME, replace(golden, answers=answers, model_sha256=digests))


def _write_reports(folder: Path, name: str, facts: dict[str, Any]) -> None:
    write_text(folder / f"{name}.json", json_text(facts))
    write_text(folder / f"{name}.md", as_markdown(facts))


def _refuse_foreign_folder(output: Path) -> None:
    """Lets only a new or empty folder, or an earlier export with nothing else in it, be replaced."""
    if not output.is_dir():
        return
    # What `ctonnx bench --sweep` measured of a model goes with it.
    found = {file.name for file in output.iterdir() if not file.name.endswith(".tuned.json")}
    try:
        known = _REPORTS.union(json.loads((output / "report.json").read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        known = frozenset()
    if found - known:
        raise CtonnxError(
            f"expected a new folder or an earlier export at '{output}', found other files "
            f"('{min(found - known)}' first); choose another --output"
        )


def _refuse_too_little_space(output: Path, weights: int, models: int) -> None:
    """Raises CtonnxError before the work where the disk could not hold what comes of it."""
    disk = next(folder for folder in (output, *output.absolute().parents) if folder.is_dir())
    needed = weights * models  # FP16 and INT8 are smaller, and golden inputs and reports are small
    if (free := shutil.disk_usage(disk).free) < needed:
        raise CtonnxError(
            f"expected {needed / 1e6:.0f} MB of free disk space in '{disk}' for the export, found {free / 1e6:.0f} MB; "
            "make room, or choose another --output"
        )


def _facts(file: Path) -> dict[str, int | str]:
    with file.open("rb") as handle:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}
