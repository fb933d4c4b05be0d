"""Evaluations of each image by TID 1501, and the library of images by TID 1600, as content items."""

from collections.abc import Iterator

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.parity.rounding import shown
from ctonnx.server.pacs.results.document import ImageResult, SeriesResult
from ctonnx.server.pacs.results.report.content_items import (
    code_item,
    container_item,
    encoded_item,
    image_item,
    number_item,
    text_item,
    uid_item,
)
from ctonnx.server.pacs.results.report.terms import (
    CLASS,
    DECISION,
    DECISIONS,
    OPERATING_POINT,
    PROBABILITY,
    REASON,
    SCORE,
    WARNING,
)

__all__ = ["image_groups", "image_library", "measured_values"]

_CONTAINS, _CONTEXT = "CONTAINS", "HAS OBS CONTEXT"
_DIGITS = 6  # of a probability


def image_groups(result: SeriesResult) -> Iterator[bytes]:
    """Yields a group of evaluations for each image: class, probability, score, decision and reason."""
    algorithm = [encoded_item(item) for item in result.model.algorithm(complete=False)]
    for image in result.ordered:
        items = _items(result, image, algorithm)
        yield container_item(_CONTAINS, codes.DCM.MeasurementGroup, items, template="1501")


def image_library(result: SeriesResult) -> bytes:
    """Returns the library of all source images, without descriptors, which incomplete headers lack."""
    images = (image_item(_CONTAINS, codes.SCT.Source, one.sop_class, one.sop_instance) for one in result.evidence)
    group = container_item(_CONTAINS, codes.DCM.ImageLibraryGroup, images)
    return container_item(_CONTAINS, codes.DCM.ImageLibrary, [group])


def measured_values(
    probability: float, score: float | None, point: OperatingPoint | None
) -> Iterator[tuple[CodedConcept, float]]:
    """Yields the names and values of a group's measurements; the score stays on its side of the operating point."""
    yield PROBABILITY, round(probability, _DIGITS)
    if score is not None and point is not None:
        yield SCORE, float(shown(score, point.threshold, digits=_DIGITS, form="f"))
        yield OPERATING_POINT, point.threshold


def _items(result: SeriesResult, image: ImageResult, algorithm: list[bytes]) -> Iterator[bytes]:
    source = result.source_image(image)
    number = "" if source.number is None else f" {source.number}"
    frame = None if image.frame is None else image.frame + 1
    name = f"Image{number}" if frame is None else f"Image{number}, frame {frame}"
    yield text_item(_CONTEXT, codes.DCM.TrackingIdentifier, name)
    yield uid_item(_CONTEXT, codes.DCM.TrackingUniqueIdentifier, result.tracking_uid(image))
    yield from algorithm
    for concept, value in measured_values(image.probability, image.score, result.model.spec.operating_point):
        yield number_item(_CONTAINS, concept, value, codes.UCUM.NoUnits)
    yield code_item(_CONTAINS, CLASS, result.model.codes.of(image.label))
    if image.decision is not None:
        yield code_item(_CONTAINS, DECISION, DECISIONS[image.decision])
    yield image_item(_CONTAINS, codes.DCM.SourceOfMeasurement, source.sop_class, source.sop_instance, frame)
    for concept, text in ((REASON, image.reason), (WARNING, image.caution)):
        if text:
            yield text_item(_CONTAINS, concept, text)
