"""Evaluations of each image, and the library of images."""

from typing import Any

from pydicom.dataset import Dataset
from tests.runtime.server.pacs.results.made_results import result_of

from ctonnx.server.pacs.results.document import SeriesResult
from ctonnx.server.pacs.results.report.content_items import content_sequence
from ctonnx.server.pacs.results.report.image_groups import image_groups, image_library, measured_values


def parsed(*items: bytes) -> list[Any]:
    holder = Dataset()
    holder["ContentSequence"] = content_sequence(items)
    return list(holder.ContentSequence)


def values(group: Any) -> dict[str, Any]:
    """Returns the values of a group's items by their names."""
    found: dict[str, Any] = {}
    for item in group.ContentSequence:
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        match item.ValueType:
            case "TEXT":
                found[name] = item.TextValue
            case "UIDREF":
                found[name] = item.UID
            case "CODE":
                found[name] = item.ConceptCodeSequence[0].CodeMeaning
            case "NUM":
                found[name] = item.MeasuredValueSequence[0].FloatingPointValue
            case "IMAGE":
                found[name] = item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    return found


def test_each_image_has_a_group_in_the_order_of_the_body(positive: SeriesResult) -> None:
    groups = [values(group) for group in parsed(*image_groups(positive))]
    assert [group["Source of Measurement"][-4:] for group in groups] == [".1.1", ".1.2", ".1.3"]
    assert [group["Tracking Identifier"] for group in groups] == ["Image 1", "Image 2", "Image 3"]
    assert [group["Predicted class"] for group in groups] == ["normal", "tumor", "tumor"]
    assert [group["Decision"] for group in groups] == ["Negative", "Positive", "Positive"]
    assert groups[0]["Probability of the predicted class"] == 0.9
    assert groups[0]["Score: summed probability of the suspicious classes"] == 0.1
    assert groups[0]["Operating point: lowest score that is positive"] == 0.5
    assert groups[0]["Algorithm Name"] == "lungs"
    assert len({group["Tracking Unique Identifier"] for group in groups}) == 3


def test_reason_and_warning_are_texts(files: list[str]) -> None:
    result = result_of(files, (0.1, 0.9, 0.6), decision="refer", reason="because", caution="blank")
    group = values(parsed(*image_groups(result))[0])
    assert (group["Decision"], group["Reason for the decision"]) == ("Refer to a person", "because")
    assert group["Warning about the image"] == "blank"


def test_image_without_a_decision_has_class_and_probability(files: list[str]) -> None:
    result = result_of(files, (0.1, 0.9, 0.6), decision=None, score=None)
    group = values(parsed(*image_groups(result))[0])
    assert "Decision" not in group
    assert "Score: summed probability of the suspicious classes" not in group
    assert group["Predicted class"] == "normal"


def test_frames_are_counted_from_one(positive: SeriesResult) -> None:
    images = [
        one._replace(frame=frame, source=f"{one.source}#{frame + 1}") for frame, one in enumerate(positive.images)
    ]
    frames = SeriesResult(source=positive.source, prediction=positive.prediction, images=images, model=positive.model)
    group = parsed(*image_groups(frames))[1]
    (reference,) = (item for item in group.ContentSequence if item.ValueType == "IMAGE")
    assert reference.ReferencedSOPSequence[0].ReferencedFrameNumber == 2
    assert values(group)["Tracking Identifier"] == "Image 2, frame 2"


def test_library_has_every_source_image(positive: SeriesResult) -> None:
    (library,) = parsed(image_library(positive))
    (group,) = library.ContentSequence
    assert len(group.ContentSequence) == 3


def test_score_stays_on_its_side_of_the_operating_point(positive: SeriesResult) -> None:
    point = positive.model.rule.point
    score = list(measured_values(0.5, 0.4999999999, point))[1][1]
    assert 0.4999 < score < point.threshold
