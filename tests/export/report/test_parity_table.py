"""Parity table: intervals, bounds, and values that are not rounded across a bound."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import onnx
from tests.export.builders import SPEC, facts

from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx.parity.comparison import AccuracyChange, Parity
from ctonnx_export.models import ExportedModel
from ctonnx_export.report.facts import report
from ctonnx_export.report.markdown import as_markdown
from ctonnx_export.trial import Trial


def int8(gate: Gate = GATES["int8"], more: Mapping[str, Any] = {}, **values: Any) -> dict[str, Any]:
    """Returns the report of an INT8 model whose parity has these values, and more facts."""
    same = {**SPEC.parity, "images": 280, **values}
    parity = Parity(**same)
    change = AccuracyChange(images=1000, reference=0.9, candidate=0.9, difference=0.0, low=-0.003, high=0.003)
    trial = Trial(parity=parity, change=change, milliseconds=1.0, bytes=1, broken=gate.broken(parity, change))
    calibration = {"images": 300, "asked_for": 300, "of": "other", "blank": 0, "foreign": False}
    attempt = {"calibrator": "minmax", "residual_adds": "integer", "layers_in_float": [], **trial.as_dict()}
    scheme = {
        "target": "x86",
        "calibrator": "minmax",
        "residual_adds": "integer",
        "layers_in_float": [],
        "bias_correction": {"images": 8},
    }
    exported = partial(ExportedModel, model=onnx.ModelProto())
    spec = replace(SPEC, precision="int8", quantization=scheme, parity=parity.as_dict())
    found = {"calibration": calibration, "attempts": [attempt], **more}
    models = [
        exported(precision="fp32", spec=SPEC, gate=GATES["fp32"], facts={"onnxsim": "simplified"}),
        exported(precision="int8", spec=spec, gate=gate, trial=trial, facts=found),
    ]
    return report(models, {})


def row(document: dict[str, Any], title: str) -> list[str]:
    (line,) = (line for line in as_markdown(document).splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")][1:]


def test_report_shows_whether_the_interval_confirms_the_measured_value() -> None:
    document = int8(agreement=279 / 280)
    assert document["precisions"]["int8"]["passed"] is True
    assert document["precisions"]["int8"]["unshown"] == ["agreement of 99 %: the interval reaches down to 98.01 %"]
    assert row(document, "confirmed by the 95 % intervals") == [
        "-",
        "no: agreement of 99 %: the interval reaches down to 98.01 %",
    ]
    assert row(int8(images=1000), "confirmed by the 95 % intervals") == ["-", "yes"]
    assert row(int8(agreement=0.9), "confirmed by the 95 % intervals") == ["-", "-"]  # it failed
    assert (
        "A gate checks the measured values; the last row shows whether their 95 % intervals are within its"
        in as_markdown(document)
    )


def test_values_of_a_failed_model_are_not_rounded_to_ones_that_pass() -> None:
    document = int8(images=259, agreement=256 / 259, heatmap_correlation=0.97997)
    assert row(document, "top-1 agreement") == ["100.00% [94.93%, 100.00%]", "98.84% [96.65%, 99.61%]"]
    assert row(document, "heatmaps' median correlation") == ["1.0000", "0.97997"]
    near = int8(images=100_000, agreement=0.98999)
    assert row(near, "top-1 agreement")[1].startswith("98.999% [")
    assert near["precisions"]["int8"]["failures"] == ["agreement is 98.999%, at least 99.00% is required"]
    assert "| minmax | integer | 0 | 98.999% |" in as_markdown(near)
    strict = int8(gate=replace(GATES["int8"], max_dp=0.005), max_dp=0.0050004)
    assert row(strict, "max \\|dp\\|") == ["1e-07", "0.00501"]


def test_decisions_have_their_number_of_images_and_interval() -> None:
    title = "decided alike, images that fitted no threshold"
    assert row(int8(decision_agreement=1.0, decision_images=188), title) == ["-", "100.00% [97.998%, 100.00%] of 188"]
    assert row(int8(), title) == ["-", "-"]
    assert row(int8(novelty_agreement=279 / 280), "flagged alike as novel") == ["-", "99.64% [98.005%, 99.94%]"]


def test_report_names_the_images_that_judge_and_those_that_chose() -> None:
    title = "images that judge"
    assert row(int8(), title) == ["-", "-"]
    halves = {"method": "halves", "choosing": {"valid": 50, "train": 151}, "judging": {"valid": 50, "train": 150}}
    document = int8(more={"judged": halves, "compared": halves["judging"]})
    assert row(document, title) == ["-", "a part; 201 other images chose"]
    assert row(document, "images compared") == ["72", "280 (valid 50, train 150)"]
    text = as_markdown(document)
    assert (
        "The table has the values on the images that chose (201: valid 50, train 151): they are optimistic, as" in text
    )
    assert "| calibrator | adds | float layers | agreement, choosing images |" in text
    folds = {"method": "folds", "choosing": {"valid": 9}, "judging": {"valid": 9}, "folds": {"a, integer adds": 5}}
    same = "5 folds, each by the candidate that the others chose"
    assert row(int8(more={"judged": folds}), title)[1] == same
    folds["folds"] = {"a, integer adds": 4, "b, float adds": 1}
    assert row(int8(more={"judged": folds}), title)[1] == f"{same}: 4 chose a, integer adds; 1 chose b, float adds"
    assert row(int8(more={"judged": {**halves, "method": "all"}}), title)[1] == "all: it was not chosen"
    assert row(int8(more={"judged": {**halves, "method": "none"}}), title)[1] == "the single image, which also chose"


def test_a_candidate_that_the_judging_images_reject_is_not_called_nearest_to_the_gate() -> None:
    document = int8(agreement=0.9)
    assert "Nearest to the gate, but failed, too: minmax" in as_markdown(document)
    document["precisions"]["int8"]["attempts"][0]["failures"] = []
    assert "Chosen, but rejected: minmax" in as_markdown(document)


def test_agreement_on_test_images_has_its_interval() -> None:
    title = "top-1 agreement, test images"
    assert row(int8(), title) == ["-", "-"]
    found = {"images": 259, "agreement": 0.988416, "agreement_interval": [0.966457, 0.996053], "mean_dp": 0.00512}
    assert row(int8(more={"agreement_on_test": found}), title) == [
        "-",
        "98.84% [96.65%, 99.61%] of 259; mean \\|dp\\| 0.00512",
    ]


def test_max_dp_is_defined_below_the_table() -> None:
    document = "max |dp|: the largest absolute difference of any class's probability over the compared images."
    assert f"\n{document} " in as_markdown(facts())


def test_gate_is_in_the_report_with_its_bounds() -> None:
    assert "\n| gate requires | max \\|dp\\| 0.0001 or less, novelty within 0.1 % |\n" in as_markdown(facts())
