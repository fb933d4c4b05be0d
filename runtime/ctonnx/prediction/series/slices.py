"""A slice: an image file, and its place in a series from its DICOM header."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ctonnx.errors import CtonnxError, ImageError
from ctonnx.images.formats import is_dicom
from ctonnx.images.source import open_source
from ctonnx.prediction.series.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from ctonnx.images.dicom.identity import Identity

__all__ = ["SliceReader", "SliceRecord", "folder_of", "record_of", "slice_reader"]


class SliceRecord(NamedTuple):
    """Facts of a file for grouping and order: a few hundred bytes, as a command may read 100,000 headers.

    Attributes:
        file: Path as it was given.
        patient: Pseudonym of the patient; empty if unknown, as of all files but DICOM.
        study: Pseudonym of the study; empty if unknown.
        series: Pseudonym of the series; empty if unknown.
        position: Position along the normal of its plane in mm; None if unknown.
        instance: Instance Number; None if unknown.
        plane: `axial`, `coronal`, `sagittal` or `oblique`; None if unknown.
        is_localizer: Whether it is a localizer (scout).
        kernel: Reconstruction kernel; empty if unknown.
        thickness: Slice thickness in mm; None if unknown.
        modality: Modality; empty if unknown.
        frames: Number of frames.
        is_dicom: Whether the file is DICOM.
        image: Pseudonym of the image, the same in every copy of the file; empty if unknown.
    """

    file: str
    patient: str = ""
    study: str = ""
    series: str = ""
    position: float | None = None
    instance: int | None = None
    plane: str | None = None
    is_localizer: bool = False
    kernel: str = ""
    thickness: float | None = None
    modality: str = ""
    frames: int = 1
    is_dicom: bool = False
    image: str = ""

    @property
    def series_key(self) -> tuple[str, str, str]:
        """Study, series and folder that distinguish the slice's series from all others; unused parts are empty.

        Slices without a series are those of their study, and without a study those of their folder, so that slices of
        two studies are never one series. A series belongs to its study, as the series of labels files are often
        numbered in each study.
        """
        return self.study, self.series, "" if self.study or self.series else folder_of(self.file)


SliceReader: TypeAlias = Callable[[str], SliceRecord]
"""Returns the record of a file; of a file that is not DICOM or cannot be read, only its path."""


def slice_reader(pseudonyms: Pseudonyms, *, needs_dicom: bool) -> SliceReader:
    """Returns a function that reads the headers of files; pydicom is imported for the first DICOM file.

    Args:
        pseudonyms: Pseudonyms of patients, studies and series.
        needs_dicom: Whether the function raises `CtonnxError` for a DICOM file if pydicom is missing.
    """
    is_imported = False

    def read(file: str) -> SliceRecord:
        nonlocal is_imported
        if not is_imported and not _is_dicom_file(file):
            return SliceRecord(file)
        try:
            from ctonnx.images.dicom.identity import read_identity

            is_imported = True  # and opens each file once from now on
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "pydicom":
                raise
            if not needs_dicom:
                return SliceRecord(file, is_dicom=True)
            raise CtonnxError(
                'expected pydicom, which reads DICOM headers, found none; pip install "ctonnx[dicom]", or use '
                "--by folder"
            ) from error
        found = read_identity(Path(file), pseudonyms.of)
        return SliceRecord(file) if found is None else record_of(file, found)

    return read


def record_of(file: str, found: "Identity") -> SliceRecord:
    """Returns the record of a DICOM file from the identity in its header."""
    # Most slices of a series have these texts in common: they are kept once.
    patient, study, series = (sys.intern(text) for text in (found.patient, found.study, found.series))
    return SliceRecord(
        file,
        patient,
        study,
        series,
        position=found.position,
        instance=found.instance,
        plane=found.plane,
        is_localizer=found.is_localizer,
        kernel=sys.intern(found.kernel),
        thickness=found.thickness,
        modality=sys.intern(found.modality),
        frames=found.frames,
        is_dicom=True,
        image=found.image,
    )


def folder_of(file: str) -> str:
    """Returns the folder of a file, `.` for that of a bare name."""
    return os.path.normpath(os.path.split(file)[0] or ".")


def _is_dicom_file(file: str) -> bool:
    with suppress(ImageError), open_source(file) as (opened, _, name):
        return is_dicom(opened, name)
    return False
