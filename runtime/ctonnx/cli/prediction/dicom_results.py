"""`ctonnx predict --dicom-out`: the options' values, the folder of objects, and the notes on stderr."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ctonnx.errors import CtonnxError
from ctonnx.system.text import Log, counted, escape_control

if TYPE_CHECKING:
    from ctonnx.prediction.predictor import Predictor
    from ctonnx.prediction.series.grouping import GroupBy
    from ctonnx.prediction.series.reduction import GroupRule
    from ctonnx.server.pacs.results.document import ObjectKind
    from ctonnx.server.pacs.results.folder import ResultFolder
    from ctonnx.server.pacs.retrieval import StudyAddress

__all__ = ["DicomOutput", "dicom_output", "opened_folder", "require_pacs", "show_results", "study_address"]


class DicomOutput(NamedTuple):
    """Folder for the objects, their kinds, and a table with the classes' codes if there is one."""

    folder: Path
    kinds: "tuple[ObjectKind, ...]"
    codes: Path | None


def require_pacs() -> None:
    """Checks that the extra `pacs` is installed; nothing is imported.

    Raises:
        CtonnxError: If highdicom is missing.
    """
    if find_spec("highdicom") is None:
        raise CtonnxError('expected highdicom, which makes DICOM objects, found none; pip install "ctonnx[pacs]"')


@contextmanager
def opened_folder(
    output: DicomOutput | None, predictor: "Predictor", rule: "GroupRule", log: Log
) -> "Iterator[ResultFolder | None]":
    """Makes the folder and yields the writer of its objects; None without `output`.

    Raises:
        CtonnxError: If the table of codes is wrong.
        OSError: If the folder cannot be made.
    """
    if output is None:
        yield None
        return
    from ctonnx.server.pacs.results.codes import ClassCodes
    from ctonnx.server.pacs.results.document import ResultModel
    from ctonnx.server.pacs.results.folder import ResultFolder
    from ctonnx.system.files import made_folders
    from ctonnx.system.temporary_files import remove_leftovers

    codes = ClassCodes() if output.codes is None else ClassCodes.read(output.codes, predictor.spec.classes)
    model = ResultModel(spec=predictor.spec, rule=rule, sha256=predictor.sha256, codes=codes)
    remove_leftovers([output.folder], log)
    with made_folders(output.folder):
        yield ResultFolder(output.folder, model, output.kinds)


def show_results(written: "ResultFolder", output: DicomOutput) -> None:
    """Prints a warning for each series without its objects, and the number of objects."""
    for name, reason in written.failures:
        message = f"expected to write the objects of series '{name}', failed: {reason}; its row is written"
        click.echo(f"warning: {escape_control(message)}", err=True)
    kinds = ", ".join(f"{count} {kind}" for kind, count in written.written.items())
    objects = counted(sum(written.written.values()), "object")
    click.echo(f"DICOM: {objects} ({kinds or 'none'}) of {written.series} series in {output.folder}", err=True)


def dicom_output(
    folder: Path | None, kinds: "tuple[ObjectKind, ...] | None", codes: Path | None, by: "GroupBy | None"
) -> DicomOutput | None:
    """Returns the objects of `--dicom-out`, `--results` and `--codes`, or None without the first.

    Raises:
        click.UsageError: If an option is without that, or the groups are not series.
        CtonnxError: If the extra `pacs` is missing.
    """
    if folder is None:
        for option, value in (("--results", kinds), ("--codes", codes)):
            if value is not None:
                raise click.UsageError(f"expected {option} with --dicom-out, found none")
        return None
    if by not in (None, "series"):
        raise click.UsageError(f"expected --dicom-out with --by series or without --by, found --by {by}")
    require_pacs()
    return DicomOutput(folder, ("sr", "sc") if kinds is None else kinds, codes)


def study_address(
    url: str | None,
    study: str | None,
    series: str | None,
    token: Path | None,
    *,
    paths: Sequence[str],
    by: "GroupBy | None",
    null: bool,
) -> "StudyAddress | None":
    """Returns the address of `--dicomweb` and the options of a study, or None without it.

    Raises:
        click.UsageError: If an option is without `--dicomweb` or contradicts it, there is neither a path nor an
            address, or the address is wrong.
        CtonnxError: If the extra `pacs` is missing.
    """
    if url is None:
        for option, value in (("--study", study), ("--series", series), ("--token", token)):
            if value is not None:
                raise click.UsageError(f"expected {option} with --dicomweb, found none")
        if not paths:
            raise click.UsageError("Missing argument 'PATH...'.")
        return None
    if paths or null:
        raise click.UsageError("expected either --dicomweb or PATH, found both")
    if study is None:
        raise click.UsageError("expected --study with --dicomweb, found none; it is the Study Instance UID")
    if by in ("patient", "folder"):
        raise click.UsageError(f"expected --dicomweb with --by series or study, found --by {by}")
    require_pacs()
    from ctonnx.server.pacs.retrieval import StudyAddress

    try:
        secret = None if token is None else token.read_text(encoding="utf-8").strip()
        return StudyAddress(url=url, study=study, series=series, token=secret)
    except ValueError as error:
        reason = f"expected a text in '{token}'" if isinstance(error, UnicodeError) else str(error)
        raise click.UsageError(f"{reason}, for --dicomweb") from None
