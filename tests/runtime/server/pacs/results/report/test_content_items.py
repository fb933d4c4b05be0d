"""Content items as bytes: the same as those that highdicom and pydicom write."""

from typing import Any

import pytest
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from highdicom.sr.utils import collect_evidence
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage

from ctonnx.server.pacs.results.report import content_items

CONTAINS: Any = RelationshipTypeValues.CONTAINS
NAME = CodedConcept("class", "99CTONNX", "Predicted class")
LONG = CodedConcept("a-value-of-more-than-sixteen-letters", "99SITE", "Größe")


@pytest.mark.parametrize("text", ["odd", "even", "ÄÖÜ, 胸部", "x" * 70_000])
def test_text(text: str) -> None:
    expected = TextContentItem(NAME, text, CONTAINS)
    assert content_items.text_item("CONTAINS", NAME, text) == content_items.encoded_item(expected)


@pytest.mark.parametrize("uid", ["2.25.1", "2.25.12"])
def test_uid(uid: str) -> None:
    expected = UIDRefContentItem(codes.DCM.TrackingUniqueIdentifier, uid, CONTAINS)
    found = content_items.uid_item("CONTAINS", codes.DCM.TrackingUniqueIdentifier, uid)
    assert found == content_items.encoded_item(expected)


@pytest.mark.parametrize("value", [LONG, CodedConcept("T", "SCT", "Odd")])
def test_code(value: CodedConcept) -> None:
    expected = CodeContentItem(NAME, value, CONTAINS)
    assert content_items.code_item("CONTAINS", NAME, value) == content_items.encoded_item(expected)


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0, 1e-06, 0.123456, 0.4999999999999, 1 / 3])
def test_number(value: float) -> None:
    expected = NumContentItem(NAME, value, codes.UCUM.NoUnits, relationship_type=CONTAINS)
    found = content_items.number_item("CONTAINS", NAME, value, codes.UCUM.NoUnits)
    assert found == content_items.encoded_item(expected)


def test_evidence() -> None:
    images = [Dataset() for _ in range(3)]
    for number, image in enumerate(images):
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"1.2.3{number}.4" + "5" * number
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.44"
        image.Rows = 1
    content, expected = Dataset(), Dataset()
    content.ContentSequence = []
    expected.CurrentRequestedProcedureEvidenceSequence, _ = collect_evidence(images, content)
    found = Dataset()
    uids = [(image.SOPClassUID, image.SOPInstanceUID) for image in images]
    found["CurrentRequestedProcedureEvidenceSequence"] = content_items.evidence_sequence("1.2.3", "1.2.3.44", uids)
    found.set_original_encoding(False, True, "utf8")
    assert content_items.encoded_item(found) == content_items.encoded_item(expected)


@pytest.mark.parametrize("frame", [None, 1, 12])
def test_image(frame: int | None) -> None:
    frames = None if frame is None else [frame]
    expected = ImageContentItem(
        NAME, CTImageStorage, "1.2.3", referenced_frame_numbers=frames, relationship_type=CONTAINS
    )
    found = content_items.image_item("CONTAINS", NAME, CTImageStorage, "1.2.3", frame)
    assert found == content_items.encoded_item(expected)


@pytest.mark.parametrize("template", [None, "1501"])
def test_container(template: str | None) -> None:
    expected = ContainerContentItem(NAME, template_id=template, relationship_type=CONTAINS)
    inner = [TextContentItem(NAME, text, CONTAINS) for text in ("a", "bc")]
    expected.ContentSequence = ContentSequence(inner)
    found = content_items.container_item("CONTAINS", NAME, map(content_items.encoded_item, inner), template)
    assert found == content_items.encoded_item(expected)


def test_content_sequence_is_read_as_the_items() -> None:
    holder = Dataset()
    holder["ContentSequence"] = content_items.content_sequence(
        content_items.text_item("CONTAINS", NAME, text) for text in ("a", "bc")
    )
    assert [item.TextValue for item in holder.ContentSequence] == ["a", "bc"]
