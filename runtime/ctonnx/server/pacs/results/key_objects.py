"""Key Object Selection of the images that carried a positive decision.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part16/chapter_A.html#sect_TID_2010
"""

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.sr.codedict import codes

from ctonnx.server.pacs.results.document import SeriesResult

__all__ = ["key_objects"]

_MOST = 3
"""Maximum number of key images: a score may be the mean of all slices."""


def key_objects(result: SeriesResult) -> KeyObjectSelectionDocument:
    """Returns the selection of up to three images that carried the decision about a series."""
    chosen = result.referred_to(result.carrying)[:_MOST]
    content = KeyObjectSelection(
        codes.DCM.OfInterest,
        chosen,
        observer_device_context=result.model.observer(),
        description=f"Images that carried the decision of {result.model.name}. Research, not for diagnosis.",
    )
    made = KeyObjectSelectionDocument(evidence=chosen, content=content, **result.settings("ko"))
    result.complete(made, "ko")
    return made
