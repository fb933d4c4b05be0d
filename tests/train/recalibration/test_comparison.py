"""Measures before and after, against independent computations."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from tests.train.recalibration.test_fitting import EARLIER

from ctonnx_train.evaluation.patients.slices import ChosenSlices
from ctonnx_train.evaluation.statistics.shares import share_of
from ctonnx_train.recalibration.comparison import MEASURES, measure
from ctonnx_train.recalibration.fitting import judge
from ctonnx_train.recalibration.scans import SiteScans

POSITIVE = ("large cell", "tumor")


def test_measures_are_those_of_the_judged_scans(site: Callable[..., SiteScans]) -> None:
    scans = site()
    judged = judge(scans, np.arange(300), EARLIER)
    found = measure(judged, scans, POSITIVE, replicates=200, seed=0)
    assert list(found) == list(MEASURES)
    assert found["nll"]["value"] == pytest.approx(log_loss(scans.labels, judged.probabilities), abs=1e-6)
    score = judged.probabilities[:, [0, 2]].sum(axis=1)
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(scans.labels != 1, score), abs=1e-6)
    assert judged.called is not None
    assert found["sensitivity"] == share_of(judged.called[scans.labels != 1])
    assert found["specificity"] == share_of(~judged.called[scans.labels == 1])
    assert judged.flagged is not None
    assert found["novel"] == share_of(judged.flagged)
    assert found["coverage"] == {"value": None, "interval": None, "images": 0}
    for name in ("nll", "ece", "auroc"):
        low, high = found[name]["interval"]
        assert low < found[name]["value"] < high, name


def test_interval_of_the_likelihood_resamples_groups(site: Callable[..., SiteScans]) -> None:
    """Ten copies of each scan are no more evidence than one."""
    scans = site(40)
    assert scans.novelty is not None
    repeated = replace(
        scans,
        labels=np.repeat(scans.labels, 10),
        logits=np.repeat(scans.logits, 10, axis=0),
        novelty=np.repeat(scans.novelty, 10),
        groups=np.repeat(scans.groups, 10),
        impressions=scans.impressions * 10,
    )
    once, ten = (
        measure(judge(of, np.arange(len(of)), EARLIER), of, POSITIVE, replicates=300, seed=0)["nll"]["interval"]
        for of in (scans, repeated)
    )
    assert ten == pytest.approx(once, rel=1e-6)


def test_intervals_of_shares_allow_for_groups_only_where_the_scans_have_them(site: Callable[..., SiteScans]) -> None:
    alone = site(40)
    grouped = replace(alone, groups=np.arange(40) // 10, is_grouped=True)
    judged = judge(alone, np.arange(40), EARLIER)
    before, after = (measure(judged, of, POSITIVE, replicates=0, seed=0) for of in (alone, grouped))
    is_positive = alone.labels != 1
    assert judged.called is not None
    assert after["sensitivity"] == share_of(judged.called[is_positive], grouped.groups[is_positive])
    assert after["specificity"] == share_of(~judged.called[~is_positive], grouped.groups[~is_positive])
    assert after["novel"]["effective_images"] == 4
    assert "effective_images" not in before["novel"]


def test_patients_count_by_the_study_that_is_decided_on_and_without_one_not_at_all(
    site: Callable[..., SiteScans],
) -> None:
    """Patients of two slices; the first has no slice to decide on, the second its finding in another study."""
    labels = np.array([2, 2, 1, 2, 2, 1, 1, 1])
    used = np.array([False, False, True, False, True, True, True, True])
    chosen = ChosenSlices(used=used, of_study=used, has_other_study=np.zeros(8, bool))
    scans = site(8, labels=labels, groups=np.arange(8) // 2, is_grouped=True, chosen=chosen)
    called = np.repeat([False, False, True, True], 2)
    judged = replace(judge(scans, np.arange(8), EARLIER), patient_called=called)
    found = measure(judged, scans, POSITIVE, replicates=0, seed=0)
    assert found["patient_sensitivity"] == share_of(np.array([True]))
    assert found["patient_specificity"] == share_of(np.array([True, False]))


def test_without_resamples_there_is_no_interval(site: Callable[..., SiteScans]) -> None:
    scans = site(40)
    found = measure(judge(scans, np.arange(40), EARLIER), scans, POSITIVE, replicates=0, seed=0)
    assert found["nll"]["interval"] is found["ece"]["interval"] is found["auroc"]["interval"] is None
