"""Studies of phantoms as DICOM files, as a hospital exports them: CT Image Storage, in folders of running numbers.

A study has the series with the lung kernel; some have a localizer too, and a series of the same slices with the kernel
for soft tissue. Numbers of folders and files have no relation to the order of series and slices. This module needs the
extra `[dicom]`.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_A.3.html (modules of a CT image)
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import set_pixel_data
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from ctonnx_train.data.phantom.patient import Patient, draw_scout, draw_slice, uid_of
from ctonnx_train.data.phantom.scanner import Hounsfield, Kernel

__all__ = ["StudyFile", "write_study"]

_IMPLEMENTATION = UID(uid_of("implementation"))
_PADDING = -2000
_SCOUT_SIDE = 512.0  # width and height of a localizer in mm
_COMMENT = "Synthetic phantom made by ctonnx; not a patient"
_ORDERS, _POSITION, _TIMES = range(100, 103)  # purposes of a patient's seeds


class StudyFile(NamedTuple):
    """A written file: its path, its series' UID, and its slice, which is None for a localizer."""

    path: Path
    series: str
    slice_index: int | None


class _Series(NamedTuple):
    folder: str
    number: int
    kernel: Kernel | None  # None for the localizer
    files: list[str]

    def uid(self, patient: Patient) -> str:
        return patient.uid("series", self.number)


def write_study(folder: Path, patient: Patient) -> Iterator[StudyFile]:
    """Writes the study of a patient into a new folder, and yields each file after it was written."""
    series = _series_of(patient)
    for one in series:
        (folder / one.folder).mkdir(parents=True)
    for one in series:
        if one.kernel is None:
            data = _header(patient, one, 0)
            _add_scout(data, patient)
            yield _write(data, folder, patient, one, None)
    slices = [one for one in series if one.kernel is not None]
    for index in range(patient.slices):
        drawn = draw_slice(patient, index, [one.kernel for one in slices if one.kernel])
        for one, hu in zip(slices, drawn, strict=True):
            data = _header(patient, one, _instance(patient, index) - 1)
            _add_slice(data, patient, one, index, hu)
            yield _write(data, folder, patient, one, index)


def _series_of(patient: Patient) -> list[_Series]:
    """Returns the series of a study, in the order of their numbers."""
    scanner, rng = patient.scanner, patient.rng(_ORDERS)
    kernels: list[Kernel | None] = [None] if patient.has_scout else []
    kernels += [scanner.soft, scanner.lung] if patient.has_soft else [scanner.lung]
    folders = rng.permutation(len(kernels)) + 1
    series = []
    for number, (kernel, place) in enumerate(zip(kernels, folders, strict=True), start=1):
        order = rng.permutation(patient.slices if kernel else 1)
        if (np.diff(order) == 1).all():  # the names would show the order of the slices
            order = order[::-1]
        series.append(_Series(f"SE{place:06d}", number, kernel, [f"IM{name + 1:06d}" for name in order]))
    return series


def _instance(patient: Patient, index: int) -> int:
    """Returns the InstanceNumber of a slice: some scanners count from the feet."""
    return index + 1 if patient.number % 3 else patient.slices - index


def _write(data: Dataset, folder: Path, patient: Patient, series: _Series, index: int | None) -> StudyFile:
    path = folder / series.folder / series.files[index or 0]
    data.save_as(path, enforce_file_format=True)
    return StudyFile(path, series.uid(patient), index)


def _header(patient: Patient, series: _Series, order: int) -> Dataset:
    """Returns the elements of an image that do not depend on what it shows; `order` is its place in the series."""
    data, scanner, rng = Dataset(), patient.scanner, patient.rng(_TIMES)
    day, seconds = patient.study_date.strftime("%Y%m%d"), int(rng.integers(8 * 3600, 17 * 3600))
    image = UID(patient.uid("image", series.number, order))
    data.file_meta = meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, image
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION, "CTONNX"
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, image
    # Patient and study
    data.PatientName, data.PatientID = f"PHANTOM^{patient.number:03d}", patient.identifier
    born = patient.study_date - timedelta(days=int(365.2425 * patient.age) + int(rng.integers(1, 364)))
    data.PatientBirthDate, data.PatientSex = born.strftime("%Y%m%d"), patient.sex
    data.PatientAge = f"{patient.age:03d}Y"
    data.PatientComments = _COMMENT
    data.StudyInstanceUID, data.StudyID = patient.uid("study"), str(rng.integers(10**5, 10**6))
    data.AccessionNumber, data.ReferringPhysicianName = str(rng.integers(10**8, 10**9)), "PHANTOM^REFERRING"
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = day
    data.StudyTime = _time(seconds)
    data.SeriesTime = data.AcquisitionTime = _time(seconds + 60 * series.number)
    data.ContentTime = _time(seconds + 60 * series.number + 1 + order / 10)
    data.StudyDescription = "CT CHEST"
    # Series
    data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "CT", series.uid(patient), series.number
    data.BodyPartExamined, data.PatientPosition, data.ProtocolName = "CHEST", "HFS", "CHEST"
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = patient.uid("frame of reference"), None
    # Equipment
    data.Manufacturer, data.ManufacturerModelName = scanner.manufacturer, scanner.model
    data.InstitutionName, data.StationName = "PHANTOM HOSPITAL", "PHANTOMCT"
    data.DeviceSerialNumber, data.SoftwareVersions = "0", "phantom"
    # Image
    data.InstanceNumber, data.AcquisitionNumber = order + 1, series.number
    data.ImageComments, data.BurnedInAnnotation, data.LossyImageCompression = _COMMENT, "NO", "00"
    data.KVP, data.RotationDirection, data.GantryDetectorTilt = patient.kvp, "CW", 0
    return data


def _add_slice(data: Dataset, patient: Patient, series: _Series, index: int, hu: Hounsfield) -> None:
    """Adds what an axial slice shows, and where it is."""
    kernel = series.kernel or patient.scanner.lung
    x, y, top = patient.rng(_POSITION).uniform((-20, -180, -300), (20, -140, -100))
    spacing = patient.field_of_view / patient.size
    corner = -(patient.field_of_view - spacing) / 2
    z = round(float(top) - index * patient.spacing, 3)
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SeriesDescription = f"{'LUNG' if kernel is patient.scanner.lung else 'SOFT TISSUE'} {patient.thickness:g} mm"
    data.ConvolutionKernel = kernel.name
    data.SliceThickness, data.SliceLocation = patient.thickness, z
    data.PixelSpacing = [_short(spacing)] * 2
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [_short(float(x) + corner), _short(float(y) + 200 + corner), z]
    data.ReconstructionDiameter, data.DataCollectionDiameter = patient.field_of_view, 500
    data.WindowCenter, data.WindowWidth = kernel.window
    _add_pixels(data, patient, hu, unit="HU")


def _add_scout(data: Dataset, patient: Patient) -> None:
    """Adds what a localizer from the front shows, and where it is: its rows run to the feet."""
    top = float(patient.rng(_POSITION).uniform((-20, -180, -300), (20, -140, -100))[2])
    spacing = _SCOUT_SIDE / patient.size
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    data.SeriesDescription = "SCOUT"
    data.SliceThickness = None
    data.PixelSpacing = [_short(spacing)] * 2
    data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    data.ImagePositionPatient = [_short((spacing - _SCOUT_SIDE) / 2), 0, round(top + 200, 3)]
    data.WindowCenter, data.WindowWidth = -200, 1200
    _add_pixels(data, patient, draw_scout(patient), unit="US")  # unspecified


def _add_pixels(data: Dataset, patient: Patient, hu: Hounsfield, *, unit: str) -> None:
    """Adds pixels, as the scanner stores them; the unit is a RescaleType."""
    scanner = patient.scanner
    outside = hu < -1200
    stored = np.rint(hu.clip(-1024, 3071)) - scanner.intercept
    if scanner.is_signed:
        stored[outside] = _PADDING
        data.PixelPaddingValue = _PADDING
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, scanner.intercept, unit
    kind, bits = ("<i2", 16) if scanner.is_signed else ("<u2", 12)
    set_pixel_data(data, stored.astype(kind), "MONOCHROME2", bits, generate_instance_uid=False)


def _short(value: float) -> str:
    """Returns a decimal string of at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _time(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{round(seconds % 1 * 1000):03d}"
