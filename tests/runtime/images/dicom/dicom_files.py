"""DICOM files for the tests, which are skipped without pydicom."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.errors import ImageError
from ctonnx.images import load
from ctonnx.images.dicom.rendering.window import windowed

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid
PATIENT = "GEHEIM^PETER"
HU = np.linspace(-2000, 2000, 40 * 30).reshape(30, 40).round().astype(np.int16)


def make(pixels: NDArray[Any] = HU, *, syntax: str = uid.ExplicitVRLittleEndian, **elements: Any) -> Any:
    """Returns a CT dataset of signed 16-bit Hounsfield units; `elements` replace its own, None removes one."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.CTImageStorage, "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.Modality = PATIENT, PATIENT, "CT"
    frames = pixels.ndim > 2 and pixels.shape[-1] != 3
    dataset.Rows, dataset.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if dataset.SamplesPerPixel == 3 else "MONOCHROME2"
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    else:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    if frames:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def radiograph(pixels: NDArray[Any], **elements: Any) -> Any:
    """Returns a radiograph, whose values are not Hounsfield units."""
    settings = {"Modality": "CR", "SOPClassUID": uid.ComputedRadiographyImageStorage}
    return make(pixels, **{**settings, "RescaleSlope": None, "RescaleIntercept": None, **elements})


def encoded(dataset: Any) -> bytes:
    data = io.BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(data, enforce_file_format=True)
    return data.getvalue()


def grey(dataset: Any, **options: Any) -> NDArray[np.uint8]:
    image = load(encoded(dataset), **options)
    assert image.mode == "L"
    return np.asarray(image)


def grey_of(data: bytes) -> NDArray[np.uint8]:
    image = load(data)
    assert image.mode == "L"
    return np.asarray(image)


def error_of(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        load(data, **options)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)  # with pydicom's message
    return caught.value.reason


def window_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns values through the lung window."""
    return windowed(np.asarray(values, np.float64), -600, 1500)


LUNG = window_of(HU)
