"""The structured report, read back by highdicom and checked by the validators."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from highdicom.sr import MeasurementReport, srread
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage
from tests.runtime.prediction.made_groups import with_rule
from tests.runtime.server.pacs.results.made_results import (
    CODES,
    change,
    faults_of,
    model_of,
    needs_dciodvfy,
    needs_dsrdump,
    result_of,
)

from ctonnx.server.pacs.results.codes import ClassCodes
from ctonnx.server.pacs.results.document import FormerReport, SeriesResult
from ctonnx.server.pacs.results.report.structured_report import structured_report
from ctonnx.server.pacs.results.report.terms import CLASS, DECISION, OPERATING_POINT, PROBABILITY, SCORE


def written(result: SeriesResult, folder: Path) -> Path:
    file = folder / "report.dcm"
    structured_report(result).save_as(file, enforce_file_format=True)
    return file


def read_back(file: Path) -> MeasurementReport:
    content = srread(file).content
    assert isinstance(content, MeasurementReport)
    return content


def evaluations(group: Any) -> dict[str, str]:
    return {one.name.meaning: one.value.value for one in group.get_qualitative_evaluations()}


def numbers(group: Any) -> dict[str, float]:
    return {one.name.meaning: one.value for one in group.get_measurements()}


def test_highdicom_reads_the_evaluations_back(positive: SeriesResult, tmp_path: Path) -> None:
    report = read_back(written(positive, tmp_path))
    series, *images = report.get_image_measurement_groups()
    tumor = positive.model.codes.of("tumor").value
    assert evaluations(series) == {CLASS.meaning: tumor, DECISION.meaning: "positive"}
    assert numbers(series) == {PROBABILITY.meaning: 0.9, SCORE.meaning: 0.9, OPERATING_POINT.meaning: 0.5}
    assert [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID[-1] for one in series.source_images] == ["2"]
    assert [evaluations(group)[DECISION.meaning] for group in images] == ["negative", "positive", "positive"]
    assert [numbers(group)[SCORE.meaning] for group in images] == [0.1, 0.9, 0.6]
    uid = positive.source.instances[2]
    (third,) = report.get_image_measurement_groups(referenced_sop_instance_uid=uid)
    assert third.tracking_uid == images[2].tracking_uid
    (observer,) = report.get_observer_contexts()
    assert observer.observer_identifying_attributes.name == "lungs"


def test_algorithm_is_identified(positive: SeriesResult, tmp_path: Path) -> None:
    series, image, *_ = read_back(written(positive, tmp_path)).get_image_measurement_groups()
    texts = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue
        for item in series[0].ContentSequence
        if item.ValueType == "TEXT"
    }
    assert texts["Algorithm Name"] == "lungs"
    assert texts["Algorithm Version"].startswith("ctonnx ")
    values = [item.TextValue for item in series[0].ContentSequence if item.ValueType == "TEXT"]
    assert f"model_sha256={'ab' * 32}" in values
    assert "operating_point_series=0.500000" in values
    assert "lungs" in [item.TextValue for item in image[0].ContentSequence if item.ValueType == "TEXT"]


def test_reason_to_refer_and_unreadable_files_are_texts(files: list[str], tmp_path: Path) -> None:
    result = result_of(files, (0.1, 0.2, 0.3), model_of(with_rule("mean", threshold=0.15)))
    object.__setattr__(result.prediction, "decision", "refer")
    object.__setattr__(result.prediction, "reason", "a finding may be there")
    object.__setattr__(result.prediction, "failed", 1)
    series = read_back(written(result, tmp_path)).get_image_measurement_groups()[0]
    texts = [item.TextValue for item in series[0].ContentSequence if item.ValueType == "TEXT"]
    assert texts[-2:] == [
        "a finding may be there",
        "3 images predicted, 3 carried the score, 1 could not be read. Research, not for diagnosis.",
    ]
    assert len(series.source_images) == 3


def test_codes_of_a_table_are_in_the_report(files: list[str], tmp_path: Path) -> None:
    codes_ = ClassCodes({**CODES, "normal": ("99SITE", "N", "Normal")})
    file = written(result_of(files, (0.1, 0.9, 0.6), model_of(codes=codes_)), tmp_path)
    series, first, *_ = read_back(file).get_image_measurement_groups()
    assert evaluations(series)[CLASS.meaning] == "363358000"
    assert evaluations(first)[CLASS.meaning] == "N"
    schemes = [one.CodingSchemeDesignator for one in pydicom.dcmread(file).CodingSchemeIdentificationSequence]
    assert schemes == ["99CTONNX", "99SITE"]


def test_procedure_is_that_of_the_source(files: list[str], tmp_path: Path) -> None:
    def procedure(result: SeriesResult) -> str:
        content = structured_report(result).ContentSequence
        (item,) = (one for one in content if one.ConceptNameCodeSequence[0].CodeValue == "121058")
        code: str = item.ConceptCodeSequence[0].CodeValue
        return code

    scores = (0.1, 0.9, 0.6)
    assert procedure(result_of(files, scores)) == codes.LN.CTUnspecifiedBodyRegion.value
    broken, good = pydicom.Dataset(), pydicom.Dataset()
    broken.CodeValue = "X"
    good.CodeValue, good.CodingSchemeDesignator, good.CodeMeaning = "P1", "99SITE", "Chest"
    change(files[0], ProcedureCodeSequence=[broken, good])
    assert procedure(result_of(files, scores)) == "P1"
    change(files[0], ProcedureCodeSequence=None)
    for file in files:
        change(file, Modality="")
    assert procedure(result_of(files, scores)) == codes.SCT.ImagingProcedure.value


def test_report_is_complete_and_preliminary_in_the_source_study(positive: SeriesResult, tmp_path: Path) -> None:
    found = pydicom.dcmread(written(positive, tmp_path))
    assert (found.CompletionFlag, found.PreliminaryFlag, found.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )
    (study,) = found.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == positive.source.study
    assert len(series.ReferencedSOPSequence) == 3


def test_same_result_has_the_same_bytes(positive: SeriesResult, files: list[str], tmp_path: Path) -> None:
    first = written(positive, tmp_path).read_bytes()
    assert written(result_of(files, (0.1, 0.9, 0.6)), tmp_path).read_bytes() == first


@needs_dciodvfy
@pytest.mark.parametrize("is_incomplete", [False, True])
def test_dciodvfy_accepts_it(files: list[str], tmp_path: Path, is_incomplete: bool) -> None:
    if is_incomplete:
        for file in files:
            change(file, StudyDate=None, ContentDate=None, PatientName=None, PatientBirthDate=None, PatientID=None)
            change(file, InstanceNumber=None, ImagePositionPatient=None, Modality=None)
    result = result_of(files, (0.1, 0.9, 0.6), reason="für alle", caution="a warning")
    assert faults_of(written(result, tmp_path)) == ["Comprehensive3DSR"]


@needs_dsrdump
def test_dsrdump_reads_it(positive: SeriesResult, tmp_path: Path) -> None:
    done = subprocess.run(
        ["dsrdump", written(positive, tmp_path)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0
    assert [line for line in lines if line.startswith(("E:", "F:"))] == []
    assert sum("Measurement Group" in line for line in lines) == 4


@needs_dciodvfy
@needs_dsrdump
def test_a_later_report_refers_to_the_former_one(positive: SeriesResult, tmp_path: Path) -> None:
    later = replace(positive, former=FormerReport("1.2.3", "1.2.3.4"))
    assert later.uid("sr") != positive.uid("sr")
    assert (later.uid("sc"), later.uid("ko")) == (positive.uid("sc"), positive.uid("ko"))
    file = written(later, tmp_path)
    assert [line for line in faults_of(file) if line.startswith("Error")] == []
    dumped = subprocess.run(["dsrdump", file], capture_output=True, text=True, check=True)  # noqa: S607
    assert not [line for line in dumped.stderr.splitlines() if line.startswith("E:")]
    assert "Predecessor Docs    : 1" in dumped.stdout
    (study,) = pydicom.dcmread(file).PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (report,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (positive.source.study, "1.2.3")
    assert (report.ReferencedSOPClassUID, report.ReferencedSOPInstanceUID) == (Comprehensive3DSRStorage, "1.2.3.4")
    assert "PredecessorDocumentsSequence" not in pydicom.dcmread(written(positive, tmp_path))
