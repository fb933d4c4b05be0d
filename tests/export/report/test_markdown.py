"""Markdown report of an export."""

import json
from dataclasses import replace

import pytest
from tests.export.builders import LEAKS, POINT, SPEC, facts

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.run import Run
from ctonnx_export.report.markdown import as_markdown


def section(text: str, heading: str) -> str:
    """Returns the text below a heading."""
    return text.partition(f"## {heading}\n\n")[2].partition("\n## ")[0].rstrip("\n")


def test_report_contains_parity_metrics_and_files(exported_run: Run) -> None:
    folder = exported_run.export_folder
    facts = json.loads((folder / "report.json").read_text())
    fp32 = facts["precisions"]["fp32"]
    assert (fp32["passed"], fp32["failures"], fp32["gate"]["max_dp"]) == (True, [], 1e-4)
    assert facts["files"]["model.fp32.onnx"]["bytes"] == (folder / "model.fp32.onnx").stat().st_size
    assert fp32["onnxsim"] == "simplified"
    text = (folder / "report.md").read_text()
    assert "synthetic phantoms" in text
    assert "not a medical device" in text
    assert f"| images compared | {facts['model']['parity']['images']} |" in text
    assert facts["files"]["golden.npz"]["sha256"] in text


def test_report_contains_copies_and_the_operating_point_of_the_run(exported_run: Run) -> None:
    record = json.loads(exported_run.record_file.read_text())
    folder = exported_run.export_folder
    model = json.loads((folder / "report.json").read_text())["model"]
    assert model["data"]["leaks"] == record["data"]["leaks"]
    assert model["operating_point"] == record["operating_point"]
    text = (folder / "report.md").read_text()
    assert "| groups of files with identical pixels | 0 (0 files) |" in text
    assert f"sum to {record['operating_point']['threshold']:.6f} or more." in text


# --- copies ----------------------------------------------------------------------------------------------------------


def test_copies_in_the_data_are_listed_after_the_metrics() -> None:
    assert section(as_markdown(facts()), "Metrics of the checkpoint") == (
        "| images | number | accuracy | macro F1 | macro AUROC |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| valid | 72 | 0.719 | 0.700 | - |\n"
        "\n"
        "| copies in the dataset |  |\n"
        "| --- | --- |\n"
        "| groups of files with identical pixels | 59 (166 files) |\n"
        "| of these, across splits | 8 (44 files) |\n"
        "| of these, with different labels | 1 |\n"
        "| files that leaked from an earlier split | test 3, valid 10 |\n"
        "| files excluded by `--drop-leaks` | none |"
    )


def test_excluded_files_are_counted() -> None:
    leaks = {**LEAKS, "dropped": {"train": 2, "valid": 10, "test": 3}}
    text = as_markdown(facts(data={**SPEC.data, "leaks": leaks}))
    assert "\n| files excluded by `--drop-leaks` | test 3, train 2, valid 10 |\n" in text


def test_report_of_a_run_that_did_not_look_for_copies_does_not_mention_them() -> None:
    text = as_markdown(facts(data={"name": "chest-ct", "fingerprint": "cd"}))
    assert "copies" not in text
    assert section(text, "Metrics of the checkpoint").endswith("| valid | 72 | 0.719 | 0.700 | - |")


# --- operating point -------------------------------------------------------------------------------------------------


def test_operating_point_is_reported_with_its_metrics_and_the_images_they_are_from() -> None:
    assert section(as_markdown(facts()), "Operating point") == (
        "An image is suspicious if the probabilities of large cell, tumor sum to 0.123456 or more. On the "
        "validation images, on which it was fitted: sensitivity 0.966 [0.886, 0.991], specificity 0.500 "
        "[0.254, 0.746] (95 % intervals)."
    )


@pytest.mark.parametrize("point", [None, replace(POINT, sensitivity_interval=None, specificity_interval=None)])
def test_missing_values_of_the_operating_point_are_left_out(point: OperatingPoint | None) -> None:
    document = section(as_markdown(facts(operating_point=point)), "Operating point")
    expected = (
        "An image is suspicious if the probabilities of large cell, tumor sum to 0.123456 or more. On the "
        "validation images, on which it was fitted: sensitivity 0.966, specificity 0.500."
    )
    assert document == (expected if point else "")
    assert ("## Operating point" in as_markdown(facts(operating_point=point))) == (point is not None)


def test_operating_point_is_reported_with_the_images_that_fitted_it_and_its_gap() -> None:
    point = replace(
        POINT, positive_images=59, negative_images=3, leaked_images=10, gap=(0.05, 0.25), sensitivity_bound=0.9505
    )
    document = section(as_markdown(facts(operating_point=point)), "Operating point")
    assert document.endswith(
        " It was fitted on 59 suspicious images and 3 others, without 10 that leaked from the training set; no score "
        "is between 0.050000 and 0.250000."
    )
    used = section(as_markdown(facts(operating_point=replace(point, leaked_images_used=True))), "Operating point")
    assert " It was fitted on 59 suspicious images and 3 others; no score is between " in used


def test_temperature_is_in_the_table_of_the_model() -> None:
    assert "\n| temperature | 1.37 |\n" in as_markdown(facts())


def test_notes_are_in_the_report() -> None:
    document = {**facts(), "notes": ["INT8 was compared on 13 images only"]}
    assert "\n- Note: INT8 was compared on 13 images only.\n" in as_markdown(document)
    assert "- Note" not in as_markdown(facts())
