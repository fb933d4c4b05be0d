"""`export_run`: exports a run to a folder in which every model has passed its gate."""

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.golden import FILE_NAME, Golden, save_golden
from ctonnx.artifacts.provenance.bom import BOM_FILE, folder_bom
from ctonnx.artifacts.provenance.signature import SIGNATURE_FILE, is_of_device
from ctonnx.artifacts.report_schema import PRECISIONS, Precision
from ctonnx.artifacts.run import Run
from ctonnx.errors import CtonnxError
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.parity.outputs import Outputs
from ctonnx.system.files import atomic_folder, json_text, sha256_of, write_text
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log, counted
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.original import Original, load_ensemble, original_of
from ctonnx_export.graph.sessions import computing_threads
from ctonnx_export.image_sets import choose_images
from ctonnx_export.models import ExportedModel, comparison_set, make_fp16, make_fp32, make_int8
from ctonnx_export.quantization.settings import Quantization
from ctonnx_export.report.caveats import export_caveats
from ctonnx_export.report.facts import report
from ctonnx_export.report.markdown import as_markdown
from ctonnx_export.report.model_card import model_card
from ctonnx_export.report.stress import read_stress
from ctonnx_train.runs.checkpoint import Checkpoint, load_checkpoint

__all__ = ["ExportResult", "export_run", "model_name"]

_REPORTS = frozenset({"README.md", "report.json", "report.md", "refused.json", "refused.md", BOM_FILE, SIGNATURE_FILE})


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """Result of an export.

    Attributes:
        folder: Export folder.
        models: All models in the order of `PRECISIONS`, those that failed their gates included.
        kept: Whether the previous export was kept, as replacing it would have removed a precision that now failed.
    """

    folder: Path
    models: tuple[ExportedModel, ...]
    kept: bool

    @property
    def written(self) -> tuple[ExportedModel, ...]:
        """Models in the folder: those that passed their gates, or none if the previous export was kept."""
        return () if self.kept else tuple(model for model in self.models if not model.failures)

    @property
    def rejected(self) -> tuple[ExportedModel, ...]:
        """Models that failed their gates."""
        return tuple(model for model in self.models if model.failures)

    @property
    def report(self) -> Path:
        """Markdown report of this export."""
        return self.folder / ("refused.md" if self.kept else "report.md")

    def file(self, model: ExportedModel) -> Path:
        """Returns the file of a written model."""
        return self.folder / model_name(model.precision)


def model_name(precision: str) -> str:
    """Returns the file name of a precision's model.

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
    images: Path | None = None,
    ensemble: bool = False,
    threads: int | None = None,
    log: Log = lambda line: None,
) -> ExportResult:
    """Exports a run to ONNX and writes its export folder atomically.

    The folder is written again after each model that passed its gate, so that an interrupted export keeps these models;
    its report lists the requested models that are still missing. Models of an earlier export are not removed before
    the end.

    On one machine, the same run, data, libraries and number of threads give the same bytes in every file, except for
    the times in the reports of an export with FP16 or INT8.

    Args:
        run: Run with a checkpoint.
        precisions: Precisions to export in addition to FP32.
        data: Folder or MedMNIST `.npz` file with the run's images; None uses the one the run was trained on.
        output: Folder to write; None uses the run's own.
        quantization: Settings of INT8; None uses the defaults.
        max_drop: Maximum loss of accuracy of FP16 and INT8, 0 to 1; None uses the bounds of their gates.
        min_agreement: Minimum agreement of FP16 and INT8 with FP32, 0 to 1; None uses the bounds of their gates.
        images: Folder of images without labels on which FP16 and INT8 are compared with FP32, too; None adds none.
        ensemble: Export the mean of the networks of the run's folds instead of its network.
        threads: Number of threads; None uses all available cores.
        log: Called with each progress message.

    Returns:
        The exported models. An FP16 or INT8 model that failed its gate is included, but not written. If the folder has
        an earlier export with that precision, the earlier export is kept, and refused.md and refused.json are added.

    Raises:
        ValueError: If a precision is not one of `PRECISIONS`.
        ModelError: If the run's checkpoint, or a fold's, is damaged.
        DataError: If images are missing or cannot be read, or an ensemble is asked for and the run has no folds.
        CheckFailed: If the FP32 model fails its gate; nothing is written.
        CtonnxError: If the output folder contains files other than an earlier export.
        OSError: If the output folder cannot be written.
    """
    if unknown := set(precisions) - set(PRECISIONS):
        raise ValueError(f"expected precisions to be of {PRECISIONS}, found {sorted(unknown)}")
    output = output or run.export_folder
    remove_leftovers([output.parent, output], log)
    _check_output_folder(output)
    chosen = {"max_drop": max_drop, "min_agreement": min_agreement}
    bounds = {name: value for name, value in chosen.items() if value is not None}
    for precision in PRECISIONS[1:]:
        if precision not in precisions and (output / model_name(precision)).exists():
            log(
                f"note: this export replaces the earlier one in '{output}' and removes its {model_name(precision)}; "
                f"keep that precision with --precision {','.join([*precisions, precision])}, or choose another --output"
            )
    if (output / SIGNATURE_FILE).exists():
        log(f"note: the signature of '{output}' does not cover a new export; sign it again with: ctonnx sign {output}")
    checkpoint = load_checkpoint(run)
    original = load_ensemble(checkpoint) if ensemble else original_of(checkpoint)
    if (earlier := _networks_in(output)) not in (None, original.networks):
        log(
            f"note: this export of {counted(original.networks, 'network')} replaces the earlier one of {earlier} in "
            f"'{output}'; choose another --output to keep both"
        )
    if original.networks > 1:
        log(
            f"{original.networks} networks as one graph: up to {original.networks} times the computation and the size "
            "of one, less if layers are frozen at the same weights"
        )
    weights = run.weights_file.stat().st_size * original.networks
    _check_free_space(output, weights, 1 + len(set(precisions) - {"fp32"}))
    stress = read_stress(run, original.sha256)
    written = _Folder(output, stress)
    with computing_threads(threads), written.reporting_kept_models(log):
        made = _make(checkpoint, original, precisions, data, quantization or Quantization(), bounds, images, log)
        for models, golden, pending in made:
            if pending:
                written.update(models, golden, pending, log)
        caveats = export_caveats(models)
        for caveat in caveats:
            log(f"note: {caveat}")
        if kept := any(model.failures and (output / model_name(model.precision)).exists() for model in models):
            with atomic_folder(output) as folder:
                shutil.copytree(output, folder, dirs_exist_ok=True)
                _write_reports(folder, "refused", report(models, {}, caveats, stress=stress))
        else:
            written.write(models, golden, (), caveats)
    return ExportResult(folder=output, models=models, kept=kept)


class _Folder:
    """Export folder, which is replaced by a more complete one as models pass their gates."""

    def __init__(self, output: Path, stress: dict[str, Any] | None) -> None:
        self._output, self._stress = output, stress
        self._outputs: dict[str, Outputs] = {}
        self._written: tuple[Precision, ...] = ()
        self._pending: tuple[Precision, ...] = ()

    def update(self, models: Sequence[ExportedModel], golden: Golden, pending: tuple[Precision, ...], log: Log) -> None:
        """Writes the folder while models are pending, unless that would remove a model of an earlier export."""
        passed = {model.precision for model in models if not model.failures}
        if any((self._output / model_name(name)).exists() for name in set(PRECISIONS) - passed):
            return
        self.write(models, golden, pending, export_caveats(models))
        log(f"written: {_names(self._written)} in '{self._output}'; next: {_names(pending)}")

    def write(
        self, models: Sequence[ExportedModel], golden: Golden, pending: tuple[Precision, ...], caveats: Sequence[str]
    ) -> None:
        """Writes the folder atomically: the models that passed their gates, golden inputs and reports."""
        passed = tuple(model for model in models if not model.failures)
        with atomic_folder(self._output) as folder:
            digests: dict[str, str] = {}
            for model in passed:
                file = folder / model_name(model.precision)
                if model.precision in self._written:
                    with suppress(OSError):  # a link needs no space, but not every file system supports it
                        file.hardlink_to(self._output / file.name)
                if not file.exists():
                    onnx.save(model.model, file)
                digests[model.precision] = str(_facts(file)["sha256"])
                if model.precision not in self._outputs:
                    self._outputs[model.precision] = run_onnx(model.model, [golden.pixels])
            save_golden(folder / FILE_NAME, replace(golden, model_outputs=self._outputs, model_sha256=digests))
            facts = report(
                models, {file.name: _facts(file) for file in sorted(folder.iterdir())}, caveats, pending, self._stress
            )
            _write_reports(folder, "report", facts)
            write_text(folder / "README.md", model_card(facts))
            write_text(folder / BOM_FILE, json_text(folder_bom(folder)))
        self._written, self._pending = tuple(model.precision for model in passed), pending

    @contextmanager
    def reporting_kept_models(self, log: Log) -> Iterator[None]:
        """Logs the contents of the folder if an error or Ctrl-C ends the export after some models were written."""
        try:
            yield
        except BaseException:
            if self._pending:
                log(
                    f"stopped before the end: '{self._output}' keeps {_names(self._written)}, which passed; run the "
                    f"export again for {_names(self._pending)}"
                )
            raise


def _names(precisions: Sequence[str]) -> str:
    return " and ".join(name.upper() for name in precisions)


def _make(
    checkpoint: Checkpoint,
    original: Original,
    precisions: Collection[Precision],
    data: Path | None,
    quantization: Quantization,
    bounds: dict[str, float],
    added: Path | None,
    log: Log,
) -> Iterator[tuple[tuple[ExportedModel, ...], Golden, tuple[Precision, ...]]]:
    """Converts the models; yields, after each, the models so far, the golden inputs and the pending precisions."""
    record = checkpoint.record
    root = data or Path(record.data["folder"])
    log(f"run {checkpoint.run.folder}: {len(record.classes)} classes, {record.preprocessing.size} pixels")
    images = choose_images(
        checkpoint,
        root,
        precisions,
        calibrate=quantization.calibrate,
        labels=quantization.labels,
        samples=quantization.samples,
        added=added,
        log=log,
    )
    fp32, golden = make_fp32(checkpoint, original, images, log)
    models = [fp32]
    pending = tuple(name for name in PRECISIONS[1:] if name in precisions)
    yield tuple(models), golden, pending
    if pending:
        compared = comparison_set(fp32, images, log)
        if "fp16" in precisions:
            models.append(make_fp16(fp32, compared, replace(GATES["fp16"], **bounds), log))
            yield tuple(models), golden, pending[1:]
        if images.calibration is not None:
            gate = replace(GATES["int8"], **bounds)
            models.append(make_int8(fp32, compared, images.calibration, quantization, gate, log))
            yield tuple(models), golden, ()


def _write_reports(folder: Path, name: str, facts: dict[str, Any]) -> None:
    write_text(folder / f"{name}.json", json_text(facts))
    write_text(folder / f"{name}.md", as_markdown(facts))


def _check_output_folder(output: Path) -> None:
    """Raises an error unless the folder is new, empty, or contains only an earlier export."""
    if not output.is_dir():
        return
    # Measurements of `ctonnx bench --sweep` and `--provider auto` belong to a model and are removed with it.
    found = {file.name for file in output.iterdir() if not is_of_device(file.name)}
    try:
        known = _REPORTS.union(json_schema.load(_Written, output / "report.json").files)
    except (OSError, ValueError):
        known = frozenset()
    if found - known:
        raise CtonnxError(
            f"expected a new folder or an earlier export at '{output}', found other files "
            f"('{min(found - known)}' first); choose another --output"
        )


def _networks_in(output: Path) -> int | None:
    """Returns the number of networks of an earlier export; None if there is none."""
    with suppress(OSError, ValueError):
        return json_schema.load(_Written, output / "report.json").model.networks
    return None


@dataclass(frozen=True)
class _WrittenModel:
    networks: int = 1


@dataclass(frozen=True)
class _Written:
    files: Mapping[str, Any]
    model: _WrittenModel = field(default_factory=_WrittenModel)


def _check_free_space(output: Path, weights: int, models: int) -> None:
    """Raises CtonnxError if the disk has too little free space for the models."""
    disk = next(folder for folder in (output, *output.absolute().parents) if folder.is_dir())
    needed = weights * models  # FP16 and INT8 are smaller, and golden inputs and reports are small
    if (free := shutil.disk_usage(disk).free) < needed:
        raise CtonnxError(
            f"expected {needed / 1e6:.0f} MB of free disk space in '{disk}' for the export, found {free / 1e6:.0f} MB; "
            "free some space, or choose another --output"
        )


def _facts(file: Path) -> dict[str, int | str]:
    return {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
