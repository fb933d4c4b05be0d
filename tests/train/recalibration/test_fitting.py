"""The fit of the values, and its cross-validation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.train.grey_models import POINT, SPEC

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.errors import DataError
from ctonnx.prediction.cautions import Impression
from ctonnx_train.evaluation.patients.aggregation import Aggregation
from ctonnx_train.evaluation.patients.slices import ChosenSlices
from ctonnx_train.recalibration.fitting import (
    Judged,
    Targets,
    Values,
    cross_validate,
    fit_values,
    judge,
    targets_of,
    values_of,
)
from ctonnx_train.recalibration.scans import SiteScans

Site = Callable[..., SiteScans]

NOVELTY = Novelty(
    threshold=1.0,
    quantile=0.9,
    quantiles=tuple(np.linspace(0, 1, 101).tolist()),
    images=72,
    training_images=600,
    components=64,
)
EARLIER = Values(temperature=1.0, operating_point=POINT, prediction_sets=None, novelty=NOVELTY, brightness=None)
TARGETS = Targets(positive=("large cell", "tumor"), sensitivity=0.95, coverage=0.9, quantile=None)


def fit(scans: SiteScans, targets: Targets = TARGETS) -> Values:
    return fit_values(scans, np.arange(len(scans)), targets, EARLIER)


def test_temperature_is_the_scale_of_the_logits(site: Site) -> None:
    assert fit(site(3000)).temperature == pytest.approx(3, rel=0.1)


def test_scans_of_training_patients_do_not_fit_the_values(site: Site) -> None:
    scans = site(600)
    leaked = np.arange(600) >= 300
    logits = np.where(leaked[:, None], 5, 1).astype(np.float32) * scans.logits
    found = fit(replace(scans, logits=logits, leaked=leaked))
    honest = np.arange(300)
    expected = fit_values(replace(scans, logits=logits), honest, TARGETS, EARLIER)
    assert found.temperature == expected.temperature != fit(replace(scans, logits=logits)).temperature
    assert found.operating_point is not None
    assert expected.operating_point is not None
    assert found.operating_point.threshold == expected.operating_point.threshold
    assert found.operating_point.leaked_images == 300
    assert found.prediction_sets == expected.prediction_sets
    assert found.novelty == expected.novelty
    few = np.arange(600) >= 9  # not ten of each kind are left: nine are too few for a temperature
    assert fit(replace(scans, logits=logits, leaked=few)).temperature == fit(replace(scans, logits=logits)).temperature
    every = fit(replace(scans, logits=logits, leaked=np.ones(600, bool)))
    assert every.temperature == fit(replace(scans, logits=logits)).temperature
    assert every.operating_point is not None
    assert every.operating_point.leaked_images_used


def test_operating_point_reaches_the_target_on_other_scans(site: Site) -> None:
    values, others = fit(site(2000)), site(2000, seed=1)
    judged = judge(others, np.arange(2000), values)
    assert values.operating_point is not None
    assert values.operating_point.target_sensitivity == 0.95
    assert judged.called is not None
    assert judged.called[others.labels != 1].mean() >= 0.93


def test_sets_cover_other_scans(site: Site) -> None:
    values, others = fit(site(2000)), site(2000, seed=1)
    judged = judge(others, np.arange(2000), values)
    assert judged.covered is not None
    assert judged.covered.mean() == pytest.approx(0.9, abs=0.03)


def test_novelty_threshold_and_quantiles_are_those_of_these_scans(site: Site) -> None:
    scans = site()
    novelty = fit(scans).novelty
    assert novelty is not None
    assert (novelty.images, novelty.quantile, novelty.training_images, novelty.components) == (300, 0.9, 600, 64)
    assert scans.novelty is not None
    assert novelty.flags(scans.novelty).mean() == pytest.approx(0.1, abs=0.005)
    assert novelty.quantiles[0] == scans.novelty.min()
    assert novelty.quantiles[-1] == scans.novelty.max()
    asked = fit(scans, replace(TARGETS, quantile=0.8)).novelty
    assert asked is not None
    assert asked.flags(scans.novelty).mean() == pytest.approx(0.2, abs=0.005)


def test_model_without_novelty_gets_none(site: Site) -> None:
    assert fit(site(novelty=False)).novelty is None
    assert fit_values(site(), np.arange(300), TARGETS, replace(EARLIER, novelty=None)).novelty is None


def test_scan_is_judged_by_values_that_its_group_did_not_choose(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = site(60, groups=np.arange(60) // 2)
    fitted: list[set[int]] = []
    judged: list[set[int]] = []

    def fit(scans: SiteScans, rows: Any, *given: Any) -> Values:
        fitted.append(set(scans.groups[rows]))
        return EARLIER

    def judging(scans: SiteScans, rows: Any, values: Values) -> Judged:
        judged.append(set(scans.groups[rows]))
        return judge(scans, rows, values)

    monkeypatch.setattr("ctonnx_train.recalibration.fitting.fit_values", fit)
    monkeypatch.setattr("ctonnx_train.recalibration.fitting.judge", judging)
    found = cross_validate(scans, TARGETS, EARLIER)
    assert len(fitted) == 5
    assert all(not one & other for one, other in zip(fitted, judged, strict=True))
    assert set.union(*judged) == set(range(30))
    whole = judge(scans, np.arange(60), EARLIER)  # the rows come back in their order
    np.testing.assert_array_equal(found.probabilities, whole.probabilities)
    np.testing.assert_array_equal(found.decisions, whole.decisions)
    assert found.covered is None


def test_scan_with_a_warning_is_referred_whatever_the_values(site: Site) -> None:
    scans = site(60)
    warned = replace(scans, impressions=(*scans.impressions[:50], *[Impression("the image is blank", None)] * 10))
    earlier = replace(EARLIER, novelty=None)
    for found in (judge(warned, np.arange(60), earlier), cross_validate(warned, TARGETS, earlier)):
        assert found.decisions is not None
        assert set(found.decisions[50:]) == {"refer"}
    some = judge(warned, np.arange(45, 55), earlier).decisions
    assert some is not None
    assert [name == "refer" for name in some] == [False] * 5 + [True] * 5


def test_scan_far_from_the_brightness_of_the_fitted_ones_is_referred(site: Site) -> None:
    scans = site(60)
    darker = replace(scans, impressions=(*scans.impressions[:59], Impression(None, 55.0)))
    earlier = replace(EARLIER, novelty=None, brightness=BrightnessRange(low=90, high=120, images=9))
    for values, expected in ((earlier, True), (fit(darker), False), (replace(earlier, brightness=None), False)):
        found = judge(darker, np.arange(60), replace(values, prediction_sets=None, novelty=None)).decisions
        assert found is not None
        assert (found == "refer").tolist() == [False] * 59 + [expected]
    held_out = cross_validate(darker, TARGETS, earlier).decisions  # its own fold does not know its brightness
    assert held_out is not None
    assert held_out[59] == "refer"


def test_cross_validation_is_less_optimistic_than_the_fit_itself(site: Site) -> None:
    """On 45 scans the threshold just below the lowest positive score finds every scan that it was fitted on."""
    sensitivities = []
    for seed in range(20):
        scans = site(45, seed=seed)
        own, others = (
            judged.called[scans.labels != 1].mean()
            for judged in (judge(scans, np.arange(45), fit(scans)), cross_validate(scans, TARGETS, EARLIER))
            if judged.called is not None
        )
        sensitivities.append((own, others))
    own, others = np.mean(sensitivities, axis=0)
    assert own > 0.96
    assert others < own - 0.02


def test_targets_are_the_models_unless_given() -> None:
    assert targets_of(SPEC, sensitivity=None, coverage=None, quantile=None) == replace(TARGETS, coverage=0.95)
    given = targets_of(SPEC, sensitivity=0.9, coverage=0.8, quantile=0.99)
    assert (given.sensitivity, given.coverage, given.quantile) == (0.9, 0.8, 0.99)
    without = targets_of(replace(SPEC, operating_point=None), sensitivity=None, coverage=None, quantile=None)
    assert (without.positive, without.sensitivity) == (("large cell", "tumor"), 0.95)
    assert values_of(SPEC).operating_point == POINT
    rule = PatientRule(aggregate="top-k", k=5, operating_point=POINT, patients=9)
    of_patients = targets_of(replace(SPEC, patient_rule=rule), sensitivity=None, coverage=None, quantile=None)
    assert of_patients.aggregation == Aggregation("top-k", 5)


def test_rule_for_patients_is_fitted_where_they_are_known(site: Site) -> None:
    """Patients of four slices: a finding in one of them, which the most suspicious slice shows."""
    labels = np.where(np.arange(400) % 8 == 1, 2, 1)
    rng = np.random.default_rng(2)
    logits = (rng.normal(0, 1, (400, 3)) + 4 * np.eye(3)[labels]).astype(np.float32)
    scans = site(400, labels=labels, logits=logits, groups=np.arange(400) // 4, is_grouped=True)
    rule = fit(scans).patient_rule
    assert rule is not None
    assert (rule.patients, rule.operating_point.positive_images, rule.operating_point.negative_images) == (100, 50, 50)
    assert rule.aggregate == "max"  # the mean of four slices is mostly that of normal ones
    kept = fit(scans, replace(TARGETS, aggregation=Aggregation("top-k", 2))).patient_rule
    assert kept is not None
    assert (kept.aggregate, kept.k) == ("top-k", 2)
    found = cross_validate(scans, TARGETS, EARLIER)
    assert found.patient_called is not None
    by_patient = found.patient_called.reshape(100, 4)
    assert (by_patient == by_patient[:, :1]).all()
    assert by_patient[::2, 0].mean() >= 0.9
    assert judge(scans, np.arange(400), EARLIER).patient_called is None


def test_rule_for_patients_is_fitted_on_honest_ones_and_on_the_slices_of_prediction(site: Site) -> None:
    """The fourth slice of each patient is of another series, where all are suspicious; the last patients leaked."""
    labels = np.where(np.arange(400) % 8 == 1, 2, 1)
    rng = np.random.default_rng(2)
    logits = (rng.normal(0, 1, (400, 3)) + 4 * np.eye(3)[labels]).astype(np.float32)
    used = np.arange(400) % 4 < 3
    logits[~used] = (0, 0, 9)
    leaked = np.arange(400) >= 320
    logits[leaked & used] = (0, 0, 8)
    chosen = ChosenSlices(used=used, of_study=np.ones(400, bool), has_other_study=np.zeros(400, bool))
    settings = {"labels": labels, "logits": logits, "groups": np.arange(400) // 4, "is_grouped": True}
    scans = site(400, **settings, chosen=chosen, leaked=leaked)
    rule = fit(scans).patient_rule
    assert rule is not None
    assert (rule.patients, rule.operating_point.leaked_images) == (80, 20)
    assert rule.operating_point.sensitivity >= 0.95
    assert rule.operating_point.specificity > 0.8
    called = judge(scans, np.arange(400), replace(EARLIER, patient_rule=rule)).patient_called
    assert called is not None
    by_patient = called.reshape(100, 4)[:80, 0]
    assert by_patient[::2].mean() >= 0.95
    assert by_patient[1::2].mean() < 0.2


def test_no_rule_without_patients_or_without_both_kinds(site: Site) -> None:
    assert fit(site()).patient_rule is None
    alike = site(300, labels=np.arange(300) % 3, groups=np.arange(300) // 3, is_grouped=True)
    assert fit(alike).patient_rule is None  # each patient has a finding
    assert cross_validate(alike, TARGETS, EARLIER).patient_called is None


def test_model_without_a_side_is_rejected() -> None:
    spec = replace(SPEC, classes=("a", "b"), operating_point=None)
    with pytest.raises(
        DataError, match=r"^expected a model with suspicious classes and others, found one with a, b and"
    ):
        targets_of(spec, sensitivity=None, coverage=None, quantile=None)
