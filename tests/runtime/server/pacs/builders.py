"""DICOM images for tests of the node."""

import secrets
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

__all__ = ["ct_image", "new_uid", "write_series"]


def new_uid() -> str:
    """Returns a random UID, short enough to append a number."""
    return f"2.25.{10**24 + secrets.randbits(64)}"


def ct_image(study: str, series: str, number: int = 1, *, size: int = 64, patient: str = "P1") -> Dataset:
    """Returns an axial CT image."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = UID(f"{series}.{number}")
    image.StudyInstanceUID, image.SeriesInstanceUID = UID(study), UID(series)
    image.PatientName, image.PatientID = f"{patient}^Test", patient
    image.PatientBirthDate, image.PatientSex = "19500101", "O"
    image.StudyDate = image.SeriesDate = image.ContentDate = "20260102"
    image.StudyTime = image.SeriesTime = image.ContentTime = "030405"
    image.AccessionNumber = image.ReferringPhysicianName = image.StudyID = ""
    image.Modality, image.Manufacturer, image.SeriesNumber, image.InstanceNumber = "CT", "Tests", 1, number
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = f"{study}.99", ""
    image.ImageOrientationPatient, image.PixelSpacing = [1, 0, 0, 0, 1, 0], [5, 5]
    image.ImagePositionPatient, image.SliceThickness = [0, 0, 2 * number], 2
    image.Rows = image.Columns = size
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 1
    image.RescaleIntercept, image.RescaleSlope, image.KVP, image.AcquisitionNumber = -1024, 1, "120", 1
    random = np.random.default_rng(number)
    image.PixelData = random.integers(0, 2000, (size, size), np.int16).tobytes()
    return image


def write_series(
    folder: Path, count: int, *, study: str | None = None, patient: str = "P1", size: int = 64
) -> list[Path]:
    """Writes the images of a new series, and returns their files."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = study or new_uid(), new_uid()
    files = []
    for number in range(1, count + 1):
        files.append(folder / f"{series}.{number}.dcm")
        ct_image(study, series, number, patient=patient, size=size).save_as(files[-1], enforce_file_format=True)
    return files
