"""Secondary Capture Image of a series: its picture, with references to the source images.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_A.8.html
"""

import numpy as np
from highdicom.sc import SCImage
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from ctonnx.server.pacs.results.document import SeriesResult
from ctonnx.server.pacs.results.picture import draw_picture

__all__ = ["secondary_capture"]


def secondary_capture(result: SeriesResult, scan: Image.Image) -> SCImage:
    """Returns the picture of a series; `scan` is the decoded image of its slice with the highest score."""
    settings = result.settings("sc")
    made = SCImage(
        pixel_array=np.asarray(draw_picture(result, scan), np.uint8),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        study_instance_uid=result.source.study,
        **settings,
    )
    for name in ("PatientOrientation", "Laterality"):
        setattr(made, name, None)  # two panels and text have none
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "YES"
    made.RecognizableVisualFeatures = "NO"
    made.DerivationDescription = (
        f"Slice with the highest score, alone and under a Grad-CAM heatmap of the model {result.model.name}, with "
        "text. Research, not for diagnosis."
    )
    image = result.source_image(result.images[result.prediction.strongest[0][0]])
    frame = result.prediction.strongest[0][1].frame
    made.SourceImageSequence = [_reference(image.sop_class, image.sop_instance, frame)]
    made.ReferencedSeriesSequence = [_series(result)]
    result.complete(made, "sc")
    return made


def _reference(sop_class: str, sop_instance: str, frame: int | None) -> Dataset:
    """Returns a reference to an image, with its purpose."""
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = sop_class, sop_instance
    if frame is not None:
        made.ReferencedFrameNumber = frame + 1
    purpose, code = Dataset(), codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code.value, "DCM", code.meaning
    made.PurposeOfReferenceCodeSequence = [purpose]
    return made


def _series(result: SeriesResult) -> Dataset:
    """Returns the references to all images of the series that were predicted."""
    made = Dataset()
    made.SeriesInstanceUID = result.source.series
    items = []
    for one in result.evidence:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class, one.sop_instance
        items.append(item)
    made.ReferencedInstanceSequence = items
    return made
