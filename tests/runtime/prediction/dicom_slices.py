"""DICOM slices of small patients, with identifiers that must not get out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

AXIAL, CORONAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1)
IDENTIFIERS = ("Doe^Jane", "PID-4711", "19701231", "20260102", "1.2.826.77")
"""Parts of the patient's name and number, dates, and UIDs of every file."""


def write_slice(
    file: Path,
    pixels: NDArray[Any],
    *,
    patient: str = "A",
    study: int = 1,
    series: int = 1,
    z: float | None = 0.0,
    instance: int | None = None,
    orientation: tuple[int, ...] = AXIAL,
    kernel: str = "B30f",
    thickness: float | None = 5.0,
    localizer: bool = False,
    modality: str = "CT",
) -> Path:
    """Writes pixels of 0 to 255 as a slice, whose values span the lung window."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    prefix = f"1.2.826.77.{ord(patient[0]) if patient else 0}.{study}"
    uid = UID(f"{prefix}.{series}.{instance or 1}")
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if localizer else "AXIAL"]
    data.StudyDate = data.ContentDate = "20260102"
    data.Modality, data.SliceThickness, data.ConvolutionKernel = modality, thickness, kernel
    data.PatientName, data.PatientBirthDate = "Doe^Jane", "19701231"
    data.PatientID = f"PID-4711{patient}" if patient else ""
    data.StudyInstanceUID, data.SeriesInstanceUID = prefix, f"{prefix}.{series}"
    if instance is not None:
        data.InstanceNumber = instance
    if z is not None:
        data.ImagePositionPatient = [0, 0, z] if orientation == AXIAL else [0, z, 0]
        data.ImageOrientationPatient = list(orientation)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.PixelRepresentation, data.BitsAllocated, data.BitsStored, data.HighBit = 0, 16, 12, 11
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1350, "HU"
    data.PixelData = np.rint(pixels * (1500 / 255)).astype("<u2").tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(file, enforce_file_format=True)
    return file
