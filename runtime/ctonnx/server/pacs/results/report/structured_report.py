"""Comprehensive 3D SR of a series: a measurement report with evaluations of the series and of each image.

Sources: https://dicom.nema.org/medical/dicom/current/output/chtml/part16/chapter_A.html#sect_TID_1500 (measurement
report), sect_TID_1501 (group of measurements and evaluations), sect_TID_4019 (algorithm)
"""

from typing import Any

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from ctonnx.server.pacs.results.document import CHARACTER_SET, ImageResult, SeriesResult
from ctonnx.server.pacs.results.report.content_items import (
    container_item,
    content_sequence,
    encoded_item,
    evidence_sequence,
)
from ctonnx.server.pacs.results.report.image_groups import image_groups, image_library, measured_values
from ctonnx.server.pacs.results.report.terms import CLASS, DECISION, DECISIONS, REASON
from ctonnx.system.text import counted

__all__ = ["structured_report"]


def structured_report(result: SeriesResult) -> Comprehensive3DSR:
    """Returns the report of a series.

    highdicom makes it with the evaluations of the series; those of the images, the library of images, and the evidence
    are added as bytes (`ctonnx.server.pacs.results.report.content_items`).
    """
    made = Comprehensive3DSR(
        evidence=result.referred_to(result.carrying),
        content=MeasurementReport(
            observation_context=ObservationContext(observer_device_context=result.model.observer()),
            procedure_reported=_procedure(result.source.header),
            imaging_measurements=[_series(result)],
            title=codes.DCM.ImagingMeasurementReport,
        ),
        is_complete=True,
        is_final=False,
        coding_schemes=result.coding_schemes(),
        previous_versions=_former(result),
        **result.settings("sr"),
    )
    *context, measurements = made.ContentSequence
    groups = [*map(encoded_item, measurements.ContentSequence), *image_groups(result)]
    container = container_item("CONTAINS", codes.DCM.ImagingMeasurements, groups)
    made["ContentSequence"] = content_sequence([*map(encoded_item, context), image_library(result), container])
    made["CurrentRequestedProcedureEvidenceSequence"] = evidence_sequence(
        result.source.study, result.source.series, ((one.sop_class, one.sop_instance) for one in result.evidence)
    )
    result.complete(made, "sr")
    # As of a file that was read, so that pydicom writes the bytes as they are.
    made.set_original_encoding(False, True, convert_encodings(CHARACTER_SET))
    return made


def _series(result: SeriesResult) -> MeasurementsAndQualitativeEvaluations:
    found, point = result.prediction, result.model.rule.point
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(result.tracking_uid(), "Series"),
        algorithm_id=result.model.algorithm(),
        measurements=[
            Measurement(name, value, codes.UCUM.NoUnits)
            for name, value in measured_values(found.probability, found.score, point)
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(CLASS, result.model.codes.of(found.label)),
            QualitativeEvaluation(DECISION, DECISIONS[found.decision]),
        ],
        source_images=[_reference(result, image) for image in result.carrying],
    )
    parts = [f"{counted(found.used, 'image')} predicted", f"{found.carrying} carried the score"]
    parts += [f"{found.failed} could not be read"] if found.failed else []
    comment = f"{', '.join(parts)}. Research, not for diagnosis."
    texts: list[tuple[Any, str | None]] = [(REASON, found.reason), (codes.DCM.Comment, comment)]
    for name, text in texts:
        if text:
            item = TextContentItem(name=name, value=text, relationship_type=RelationshipTypeValues.CONTAINS)
            group[0].ContentSequence.append(item)
    return group


def _reference(result: SeriesResult, image: ImageResult) -> SourceImageForMeasurementGroup:
    source, frames = result.source_image(image), None if image.frame is None else [image.frame + 1]
    return SourceImageForMeasurementGroup(source.sop_class, source.sop_instance, frames)


def _former(result: SeriesResult) -> list[Dataset] | None:
    """Returns the report that this one replaces, as highdicom refers to it; None for none."""
    if result.former is None:
        return None
    found = Dataset()
    found.StudyInstanceUID, found.SOPClassUID = result.source.study, Comprehensive3DSRStorage
    found.SeriesInstanceUID, found.SOPInstanceUID = result.former
    return [found]


def _procedure(header: Dataset) -> CodedConcept:
    """Returns the code of the procedure in the source's header, else that of CT or of any imaging."""
    for item in header.get("ProcedureCodeSequence") or ():
        try:
            return CodedConcept.from_dataset(item)
        except (AttributeError, TypeError, ValueError):
            continue
    is_ct = str(header.get("Modality", "")).strip() == "CT"
    return CodedConcept.from_code(codes.LN.CTUnspecifiedBodyRegion if is_ct else codes.SCT.ImagingProcedure)
