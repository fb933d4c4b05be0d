"""`export_run`: from a run to its export folder, in which every model has passed its gate."""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.golden import FILE_NAME, Golden, save_golden
from ctonnx.artifacts.run import Run
from ctonnx.artifacts.spec import PRECISIONS, Precision
from ctonnx.errors import CtonnxError
from ctonnx.parity.gates import GATES
from ctonnx.parity.outputs import Outputs
from ctonnx.system.files import atomic_folder, json_text, sha256_of, write_text
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.sessions import computing_threads
from ctonnx_export.image_sets import calibration_images, validation_images
from ctonnx_export.models import ExportedModel, images_to_compare, make_fp16, make_fp32, make_int8
from ctonnx_export.quantization.settings import Quantization
from ctonnx_export.report.caveats import cautions
from ctonnx_export.report.facts import report
from ctonnx_export.report.markdown import as_markdown
from ctonnx_export.report.model_card import model_card
from ctonnx_train.runs.checkpoint import Checkpoint, load_checkpoint

__all__ = ["ExportResult", "export_run", "model_name"]

_REPORTS = frozenset({"README.md", "report.json", "report.md", "refused.json", "refused.md"})


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What an export left behind.

    Attributes:
        folder: The export folder.
        models: in the order of `PRECISIONS`, those that were refused too.
        kept: Whether the folder holds an earlier export still, as this one would have taken a model out of it whose
            like it was refused.
    """

    folder: Path
    models: tuple[ExportedModel, ...]
    kept: bool

    @property
    def written(self) -> tuple[ExportedModel, ...]:
        """The models that are in the folder: those that passed their gates, or none where an earlier export stays."""
        return () if self.kept else tuple(made for made in self.models if not made.failures)

    @property
    def refused(self) -> tuple[ExportedModel, ...]:
        """The models that did not pass."""
        return tuple(made for made in self.models if made.failures)

    @property
    def report(self) -> Path:
        """The Markdown file that tells how the models did."""
        return self.folder / ("refused.md" if self.kept else "report.md")

    def file(self, made: ExportedModel) -> Path:
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
    threads: int | None = None,
    log: Log = lambda line: None,
) -> ExportResult:
    """Exports a run to ONNX and writes its export folder, whole or not at all.

    The folder is written anew when each model has been made, so that what passed its gate is there though the export is
    stopped before its end; its report tells then which models were asked for and are not made yet. No model of an
    earlier export is taken out of the folder before the end.

    On one machine, the same run, data, libraries and number of threads give the same bytes in every file, but for the
    times in the reports of an export that has FP16 or INT8.

    Args:
        run: with a checkpoint.
        precisions: which models to make besides FP32, which is always made.
        data: The folder, or the MedMNIST `.npz` file, with the run's images; None takes the one it was trained on.
        output: The folder to write; None takes the run's own.
        quantization: how INT8 is to be made.
        max_drop: Largest loss of accuracy of FP16 and INT8, 0 to 1; None takes their gates'.
        min_agreement: Smallest agreement of FP16 and INT8 with FP32, 0 to 1; None takes their gates'.
        threads: in which it computes; None takes every core that this process may use.
        log: Called with each progress message.

    Returns:
        What was made; an FP16 or INT8 model that did not pass its gate is told there, and is not in the folder. Where
        an earlier export there holds one of that precision, that export stays whole, with refused.md and refused.json.

    Raises:
        ValueError: A precision is not one of `PRECISIONS`.
        ModelError: The run's checkpoint is damaged.
        DataError: Images are not where they were, or cannot be read.
        CheckFailed: The FP32 model does not pass its gate; nothing was written.
        CtonnxError: The output folder holds other things than an earlier export.
        OSError: The output folder cannot be written.
    """
    if unknown := set(precisions) - set(PRECISIONS):
        raise ValueError(f"expected precisions to be of {PRECISIONS}, found {sorted(unknown)}")
    output = output or run.export_folder
    remove_leftovers([output.parent, output], log)
    _refuse_foreign_folder(output)
    chosen = {"max_drop": max_drop, "min_agreement": min_agreement}
    bounds = {name: value for name, value in chosen.items() if value is not None}
    for precision in PRECISIONS[1:]:
        if precision not in precisions and (output / model_name(precision)).exists():
            log(
                f"note: '{output}' holds an earlier export, whose place this one will take; {model_name(precision)} is "
                f"not asked for and goes then; keep it with --precision {','.join([*precisions, precision])}, or "
                "choose another --output"
            )
    checkpoint = load_checkpoint(run)
    _refuse_too_little_space(output, run.weights_file.stat().st_size, 1 + len(set(precisions) - {"fp32"}))
    written = _Folder(output)
    with computing_threads(threads), written.keeping_what_passed(log):
        for models, golden, pending in _make(checkpoint, precisions, data, quantization or Quantization(), bounds, log):
            if pending:
                written.update(models, golden, pending, log)
        notes = cautions(models)
        for note in notes:
            log(f"note: {note}")
        if kept := any(made.failures and (output / model_name(made.precision)).exists() for made in models):
            with atomic_folder(output) as folder:
                shutil.copytree(output, folder, dirs_exist_ok=True)
                _write_reports(folder, "refused", report(models, {}, notes))
        else:
            written.write(models, golden, (), notes)
    return ExportResult(folder=output, models=models, kept=kept)


class _Folder:
    """The export folder, which is replaced by a fuller one as the models pass their gates.

    Args:
        output: Its path.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._answers: dict[str, Outputs] = {}
        self._written: tuple[Precision, ...] = ()
        self._pending: tuple[Precision, ...] = ()

    def update(
        self,
        models: Sequence[ExportedModel],
        golden: Golden,
        pending: tuple[Precision, ...],
        log: Log,
    ) -> None:
        """Writes the folder while models are still to be made, where no model of an earlier export is lost by it."""
        passed = {made.precision for made in models if not made.failures}
        if any((self._output / model_name(name)).exists() for name in set(PRECISIONS) - passed):
            return
        self.write(models, golden, pending, cautions(models))
        log(f"written: {_names(self._written)} in '{self._output}'; next: {_names(pending)}")

    def write(
        self, models: Sequence[ExportedModel], golden: Golden, pending: tuple[Precision, ...], notes: Sequence[str]
    ) -> None:
        """Writes the folder, whole or not at all: the models that passed their gates, golden inputs and reports."""
        passed = tuple(made for made in models if not made.failures)
        with atomic_folder(self._output) as folder:
            digests: dict[str, str] = {}
            for made in passed:
                file = folder / model_name(made.precision)
                if not (made.precision in self._written and _link(self._output / file.name, file)):
                    onnx.save(made.model, file)
                digests[made.precision] = str(_facts(file)["sha256"])
                if made.precision not in self._answers:
                    self._answers[made.precision] = run_onnx(made.model, [golden.pixels])
            save_golden(folder / FILE_NAME, replace(golden, answers=self._answers, model_sha256=digests))
            facts = report(models, {file.name: _facts(file) for file in sorted(folder.iterdir())}, notes, pending)
            _write_reports(folder, "report", facts)
            write_text(folder / "README.md", model_card(facts))
        self._written, self._pending = tuple(made.precision for made in passed), pending

    @contextmanager
    def keeping_what_passed(self, log: Log) -> Iterator[None]:
        """Says what is in the folder where an error or Ctrl-C ends the export after some models were written."""
        try:
            yield
        except BaseException:
            if self._pending:
                log(
                    f"stopped before the end: '{self._output}' keeps {_names(self._written)}, which passed; for "
                    f"{_names(self._pending)} run the export again"
                )
            raise


def _names(precisions: Sequence[str]) -> str:
    return " and ".join(name.upper() for name in precisions)


def _link(file: Path, name: Path) -> bool:
    """Gives a file another name, which costs no space; says whether the file system can."""
    try:
        os.link(file, name)
    except OSError:
        return False
    return True


def _make(
    checkpoint: Checkpoint,
    precisions: Collection[Precision],
    data: Path | None,
    quantization: Quantization,
    bounds: dict[str, float],
    log: Log,
) -> Iterator[tuple[tuple[ExportedModel, ...], Golden, tuple[Precision, ...]]]:
    """Makes the models; yields after each those made so far, golden inputs with PyTorch's answers, and what comes."""
    record = checkpoint.record
    root = data or Path(record.data["folder"])
    log(f"run {checkpoint.run.folder}: {len(record.classes)} classes, {record.preprocessing.size} pixels")
    validation = validation_images(checkpoint, root)
    calibration = None
    if "int8" in precisions:
        calibration = calibration_images(
            checkpoint, root, calibrate=quantization.calibrate, count=quantization.samples, avoid=validation.digests
        )
        if calibration.missing:
            why = "all there are" if quantization.calibrate else "a third of each class is kept to compare on"
            log(f"calibrating on {len(calibration)} images, {calibration.missing} fewer than asked for: {why}")
    fp32, golden = make_fp32(checkpoint, validation, log)
    models = [fp32]
    pending = tuple(name for name in PRECISIONS[1:] if name in precisions)
    yield tuple(models), golden, pending
    if {"fp16", "int8"}.intersection(precisions):
        compared = images_to_compare(checkpoint, root, fp32, validation, calibration, log)
        if "fp16" in precisions:
            models.append(make_fp16(fp32, compared, replace(GATES["fp16"], **bounds), log))
            yield tuple(models), golden, pending[1:]
        if calibration is not None:
            gate = replace(GATES["int8"], **bounds)
            models.append(make_int8(fp32, compared, calibration, quantization, gate, log))
            yield tuple(models), golden, ()


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
        known = _REPORTS.union(json_schema.load(_Written, output / "report.json").files)
    except (OSError, ValueError):
        known = frozenset()
    if found - known:
        raise CtonnxError(
            f"expected a new folder or an earlier export at '{output}', found other files "
            f"('{min(found - known)}' first); choose another --output"
        )


@dataclass(frozen=True)
class _Written:
    files: Mapping[str, Any]


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
    return {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
