"""`ctonnx predict --by`: one row for each series, study, patient or folder, and the notes on stderr."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import click

from ctonnx.cli.prediction.dicom_results import DicomOutput, opened_folder, show_results
from ctonnx.parity.rounding import threshold_text
from ctonnx.system.text import counted, escape_control

if TYPE_CHECKING:
    from ctonnx.artifacts.spec import ModelSpec
    from ctonnx.prediction.output.batch import OutputSettings
    from ctonnx.prediction.output.group_batch import FileSource, GroupBatchResult
    from ctonnx.prediction.predictor import Predictor
    from ctonnx.prediction.series.grouping import GroupBy
    from ctonnx.prediction.series.reduction import GroupRule
    from ctonnx.prediction.series.slices import SliceRecord

__all__ = ["predict_by", "show_undrawn"]

_PLURALS = {"series": "series", "study": "studies", "patient": "patients", "folder": "folders"}


class _Progress(Protocol):
    def __call__(
        self, count: int, *, shown: bool, label: str = ..., unit: str = ...
    ) -> AbstractContextManager[Callable[[int], None]]: ...


def predict_by(
    predictor: "Predictor",
    files: Sequence[str],
    by: "GroupBy",
    settings: "OutputSettings",
    *,
    series_filter: str | None,
    dicom: DicomOutput | None,
    progress: _Progress,
    source: "FileSource | None" = None,
) -> bool:
    """Predicts files by groups, prints the rows and the notes, and returns whether all that was asked for succeeded.

    With `dicom`, the groups are series, whose objects are written. With `source`, which provides the files, these are
    not on the disk.

    Raises:
        click.UsageError: If the model has no operating point.
        CtonnxError: If no file belongs to a group, or the folder of the pictures has some of an earlier run.
    """
    from ctonnx.prediction.output.group_batch import check_no_pictures, predict_group_files
    from ctonnx.prediction.series.grouping import group_files, unique
    from ctonnx.prediction.series.pseudonyms import Pseudonyms
    from ctonnx.prediction.series.reduction import GroupRule
    from ctonnx.prediction.series.slices import slice_reader

    rule = GroupRule.of(predictor.spec)
    if rule is None:
        option = "--by" if dicom is None else "--dicom-out"
        raise click.UsageError(
            f"expected a model with an operating point for {option}, found none in '{predictor.path}'; train it on "
            "images of suspicious and other classes"
        )
    if settings.heatmaps is not None:
        check_no_pictures(settings.heatmaps, by)
    with opened_folder(dicom, predictor, rule, settings.log) as objects:
        files = unique(files)
        read = slice_reader(Pseudonyms(), needs_dicom=by != "folder") if source is None else source.read
        with progress(len(files), shown=by != "folder", label="reading headers", unit="files") as step:

            def reading(file: str) -> "SliceRecord":
                step(1)
                return read(file)

            grouping = group_files(files, by, reading, series_filter=series_filter)
        if not rule.of_patients:
            click.echo(
                f"caveat: this model has no rule for patients: a {by} is positive if its most suspicious slice is; "
                "many slices make false alarms likelier",
                err=True,
            )
        result = predict_group_files(
            predictor,
            grouping,
            rule,
            settings,
            read=read,
            progress=progress(grouping.files, shown=bool(settings.output or settings.sort) or not sys.stdout.isatty()),
            watch=objects,
            source=source,
        )
    show_undrawn(result.undrawn)
    _summarize(len(files), by, result, rule, predictor.spec)
    if settings.output is not None:
        click.echo(f"written: {settings.output}", err=True)
    if objects is not None and dicom is not None:
        show_results(objects, dicom)
    unwritten = objects.failures if objects is not None else []
    return not (result.failed or result.failed_files or result.undrawn or unwritten)


def show_undrawn(undrawn: Iterable[tuple[str, str]]) -> None:
    """Prints a warning for each heatmap that was not drawn, by its source and the reason."""
    for source, reason in undrawn:
        message = escape_control(f"expected to draw the heatmap of '{source}', failed: {reason}; its row is written")
        click.echo(f"warning: {message}", err=True)


def _summarize(files: int, by: "GroupBy", result: "GroupBatchResult", rule: "GroupRule", spec: "ModelSpec") -> None:
    from ctonnx.artifacts.spec import fitted_on, patients_of

    if result.left_out:
        parts = ", ".join(f"{count} {kind}" for kind, count in sorted(result.left_out.items()))
        click.echo(f"left out: {counted(sum(result.left_out.values()), 'slice')} ({parts})", err=True)
    if result.mixed:
        what = "folder has" if result.mixed == 1 else "folders have"
        click.echo(f"caveat: {result.mixed} {what} slices of several series; --by series keeps them apart", err=True)
    if result.failed_files:
        click.echo(f"failed: {counted(result.failed_files, 'file')}; the rows name them", err=True)
    counts = ", ".join(f"{count} {name}" for name, count in result.decisions.items())
    groups = result.predicted + result.failed + result.left_out_series
    unsuitable = f"{result.left_out_series} left out, " if result.left_out_series else ""
    undrawn = len(result.undrawn)
    without = f", {undrawn} without {'its heatmap' if undrawn == 1 else 'their heatmaps'}" if undrawn else ""
    rate = f"; {counted(result.used, 'slice')}, {result.used / result.seconds:.1f} slices/s" if result.used else ""
    click.echo(
        f"{counted(files, 'file')}, {groups} {by if groups == 1 else _PLURALS[by]}: {result.predicted} predicted "
        f"({counts}), {unsuitable}{result.failed} failed{without}{rate}",
        err=True,
    )
    threshold = threshold_text(rule.point.threshold)  # as many digits as the scores in the rows; CSV has all
    patients = spec.patient_rule
    fitted = (
        f"{fitted_on(spec.history)}, as single slices" if patients is None else patients_of(fitted_on(spec.history))
    )
    score = "of the most suspicious slice" if patients is None else f"of {patients.title}"
    click.echo(
        f"positive: {' + '.join(rule.point.positive)} at {threshold} or more, {score} ({rule.point.metrics_text} on "
        f"the {fitted})",
        err=True,
    )
