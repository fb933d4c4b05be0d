"""Key Object Selection of a positive series."""

from pathlib import Path

import pydicom
from tests.runtime.prediction.made_groups import with_rule
from tests.runtime.server.pacs.results.made_results import faults_of, model_of, needs_dciodvfy, result_of, write_series

from ctonnx.server.pacs.results.document import SeriesResult
from ctonnx.server.pacs.results.key_objects import key_objects


def chosen(result: SeriesResult) -> list[str]:
    items = key_objects(result).ContentSequence
    return [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID[-1] for one in items if one.ValueType == "IMAGE"]


def test_image_that_carried_the_decision_is_selected(positive: SeriesResult) -> None:
    assert chosen(positive) == ["2"]


def test_at_most_three_images_are_selected_by_their_score(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", 5)
    result = result_of(files, (0.6, 0.2, 0.9, 0.1, 0.8), model_of(with_rule("mean")))
    assert chosen(result) == ["3", "5", "1"]


def test_title_is_of_interest_and_evidence_is_the_selection(positive: SeriesResult) -> None:
    made = key_objects(positive)
    assert made.ConceptNameCodeSequence[0].CodeMeaning == "Of Interest"
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1


@needs_dciodvfy
def test_dciodvfy_accepts_it(positive: SeriesResult, tmp_path: Path) -> None:
    file = tmp_path / "key.dcm"
    key_objects(positive).save_as(file, enforce_file_format=True)
    assert pydicom.dcmread(file).Modality == "KO"
    assert faults_of(file) == ["KeyObjectSelectionDocument"]
