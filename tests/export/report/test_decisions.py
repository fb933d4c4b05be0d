"""Decisions in the report and the model card: the rule, what images can promise, and what training measured."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.export.builders import POINT, SPEC

from ctonnx.artifacts.caveats import missing_checks, novelty_caveats
from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import PERCENTILES, Novelty
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx_export.report.decisions import decision_lines

SETS = PredictionSets(
    coverage=0.95,
    lowest=dict.fromkeys(SPEC.classes, 0.1),
    images={"normal": 40, "tumor": 19, "large cell": 13},
    positive=POINT.positive,
)
NOVELTY = Novelty(
    threshold=12.5, quantile=0.95, quantiles=(1.0,) * PERCENTILES, images=72, training_images=1, components=9
)
NONE = {"share": None, "share_interval": None, "images": 0, "promised": 0.95}
COVERED = {"share": 0.93339, "share_interval": [0.70189, 0.98819], "images": 15, "promised": 0.95}
BRIGHTNESS = BrightnessRange(low=30, high=155, images=613)
DECISIONS: dict[str, Any] = {
    "images": 72,
    "referred": 5,
    "referred_share": 0.069444,
    "referred_share_interval": [0.030012, 0.152487],
    "referred_by": {"set": 4, "novelty": 2},
    "positive_referred": 3,
    "negative_referred": 2,
    "sensitivity": 0.983607,
    "sensitivity_interval": [0.912786, 0.997099],
    "sensitivity_images": 61,
    "specificity": None,
    "specificity_interval": None,
    "specificity_images": 0,
    "coverage": {"normal": COVERED, "tumor": NONE, "large cell": NONE},
    "set_size": 1.2,
}


def text(on_test: dict[str, Any] | None = None, **changes: Any) -> str:
    metrics = {"valid": {"images": 72, "decisions": DECISIONS}}
    parts = {"prediction_sets": SETS, "novelty": NOVELTY, "brightness": BRIGHTNESS, "metrics": metrics, **changes}
    spec = replace(SPEC, **parts)
    precisions = {"fp32": {}, "int8": {"decisions_on_test": on_test}}
    return "\n".join(decision_lines({"model": json.loads(spec.to_json()), "precisions": precisions}))


def test_the_rule_has_all_its_reasons() -> None:
    assert (
        "## Decisions\n\nAn image is `positive` if it is suspicious, else `negative`. It is neither but `refer`, a "
        "person must look, if its prediction set has classes of both kinds, or only of the other kind; or it is unlike "
        "the training images (novelty); or its mean grey is below 20 or above 190 of 255; or it gave a warning.\n\n"
        "| images |"
    ) in text()
    assert "An image is suspicious if the probabilities of large cell, tumor sum to 0.123456 or more." in text()


def test_no_measured_share_is_rounded_in_the_models_favour() -> None:
    assert (
        "| validation | 72 | 5 (prediction set 4, novelty 2): 0.070 [0.030, 0.153] | "
        "0.983 [0.912, 0.998] of 61 | - of 0 |"
    ) in text()
    assert "were fitted on the validation images: metrics on them are optimistic." in text()
    uncounted = "Warnings about an image are not counted"
    assert uncounted in text()
    counted = {**DECISIONS, "referred_by": {"set": 4, "novelty": 2, "caution": 1}}
    assert uncounted not in text(metrics={"valid": {"images": 72, "decisions": counted}})
    assert "5 (prediction set 4, novelty 2, warning 1): " in text(
        metrics={"valid": {"images": 72, "decisions": counted}}
    )


def test_prediction_sets_have_what_their_images_can_promise_and_what_was_measured() -> None:
    assert "fitted for a coverage of 95%:" in text()
    for row in (
        "| class | fitted on | promised coverage | on the validation images |",
        "| normal | 40 images | 0.950 | 0.933 [0.701, 0.989] of 15 |",
        "| tumor | 19 images | 0.950 | - of 0 |",
        "| large cell | 13 images | none: too few images | - of 0 |",
    ):
        assert f"\n{row}\n" in text()


def test_novelty_has_its_threshold_and_images() -> None:
    assert (
        "**Novelty**, the distance from 1 training image, is flagged above 12.5. This threshold was fitted on "
        "72 validation images, so that on average 95% of other images like them are not flagged."
    ) in text()
    too_few = "validation images, too few to promise that 95% of other images are not flagged."
    assert too_few not in text(novelty=replace(NOVELTY, images=19))
    assert f" 18 {too_few}" in text(novelty=replace(NOVELTY, images=18))


def test_leaked_images_are_a_caveat() -> None:
    used = "Leaked images were used too"
    assert used not in text()
    assert text(prediction_sets=replace(SETS, leaked_images_used=True)).count(used) == 1
    leaked = replace(NOVELTY, leaked_images_used=True)
    (caveat,) = novelty_caveats(leaked)
    assert f" {caveat[0].upper()}{caveat[1:]}.\n" in text(novelty=leaked)
    assert used not in text(novelty=leaked)  # it flags too many: not optimistic


@pytest.mark.parametrize("metrics", [{}, {"valid": {"images": 72, "decisions": None}}])
def test_what_was_not_measured_or_does_not_exist_is_reported(metrics: dict[str, Any]) -> None:
    bare = text(metrics=metrics, prediction_sets=None, novelty=None, brightness=None)
    assert "The run did not measure its decisions" in bare
    missing = missing_checks(replace(SPEC, prediction_sets=None, novelty=None))
    assert missing is not None
    assert f"**{missing[0].upper()}{missing[1:]}.**" in bare
    assert "a person must look, if it gave a warning." in bare
    none = text(metrics=metrics, prediction_sets=None, novelty=None, operating_point=None)
    assert "## Operating point" not in none
    assert "it makes no decisions" in none
    assert text(operating_point=None).endswith("It has no operating point, so it makes no decisions.\n")


def test_exported_files_are_compared_on_test_images() -> None:
    found = text(
        {
            "images": 72,
            "opposite": 1,
            "newly_referred": 2,
            "newly_decided": 0,
            "changed_share": 0.041667,
            "changed_share_interval": [0.014249, 0.115471],
            "coverage": {
                "normal": {**COVERED, "share": 0.8, "share_interval": [0.54, 0.93]},
                "tumor": NONE,
                "large cell": NONE,
            },
            "reference_coverage": DECISIONS["coverage"],
        }
    )
    assert (
        "\n- INT8 decides otherwise than FP32: 0.042 [0.014, 0.116]. 1 the opposite, 2 newly referred, 0 no longer "
        "referred.\n\n| class in the prediction set | images | promised | FP32 | INT8 |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| normal | 15 | 0.950 | 0.933 [0.701, 0.989] | 0.800 [0.540, 0.930] |\n"
    ) in found
    assert "Decisions of the exported files" not in text()


def test_patients_have_a_section_with_their_rule_and_metrics() -> None:
    assert "## Patients" not in text()
    rule = PatientRule(aggregate="top-k", k=3, operating_point=POINT, patients=20)
    share = {"sensitivity": 0.9, "sensitivity_interval": [0.59, 0.99], "sensitivity_patients": 10}
    share |= {"specificity": 0.8, "specificity_interval": [0.49, 0.95], "specificity_patients": 10}
    of_patients = {
        "count": 20,
        "auroc": {"value": 0.95, "interval": [0.8, 1.0]},
        "suspicious": share,
        "decisions": {"referred": 1, "referred_share": 0.05, "referred_share_interval": [0.0089, 0.2361], **share},
    }
    shown = text(patient_rule=rule, metrics={"valid": {"images": 72, "decisions": None, "patients": of_patients}})
    assert (
        "## Patients\n\nA patient's score is that of the mean of the 3 most suspicious slices; from 0.123456 on the "
        "patient is suspicious. The decision is `refer` if "
    ) in shown
    assert " There were too few patients for prediction sets.\n" in shown
    assert (
        "| validation | 20 | 0.950 [0.800, 1.000] | 0.900 [0.590, 0.990] of 10 | 0.800 [0.490, 0.950] of 10 | "
        "1: 0.050 [0.008, 0.237] | 0.900 [0.590, 0.990] of 10 | 0.800 [0.490, 0.950] of 10 |"
    ) in shown
    unmeasured = text(patient_rule=rule, metrics={"valid": {"images": 72, "decisions": None, "patients": {"count": 3}}})
    assert "| validation | 3 | - | - of 0 |" in unmeasured
