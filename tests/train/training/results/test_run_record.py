"""The record of a run: calibration, metrics of the evaluated splits, and the numbers of the training."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx.prediction.cautions import Impression
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.patients import Patients
from ctonnx_train.evaluation.evaluate import evaluate_model
from ctonnx_train.evaluation.evaluated_model import open_evaluated_model
from ctonnx_train.evaluation.fitting.calibration import fit_temperature
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.threshold import suspicious_metrics
from ctonnx_train.evaluation.statistics.metrics import evaluate
from ctonnx_train.runs.record import read_record
from ctonnx_train.training.loop.fit import Fitted
from ctonnx_train.training.preparation import Prepared, prepare
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.results.report import summary
from ctonnx_train.training.results.run_record import Calibrated, calibrate, make_record
from ctonnx_train.training.resume import RunPlan
from ctonnx_train.training.train import train

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

SMALL = Preprocessing(size=32)
QUICK = TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32", positive=("b",))
LOGITS = np.array([[2, 0], [0, 2], [0, 3], [1, 0]], np.float32)
COUNTS = {"train/a": 2, "train/b": 2, "valid/a": 2, "valid/b": 2, "test/b": 1}
ROWS = [{"seconds": 4.0, "train_seconds": 2.0, "data_seconds": 0.5}] * 2

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def fitted(rows: list[dict[str, float]], value: float | None = 0.12345678) -> Fitted:
    """A result of `fit` on the CPU."""
    history, best = SimpleNamespace(rows=rows), SimpleNamespace(epoch=2, value=value)
    return Fitted(
        device=torch.device("cpu"),
        precision="fp32",
        history=cast("Any", history),
        best=cast("Any", best),
        interrupted=False,
    )


@pytest.fixture
def calibrated_on(
    images_in: ImagesIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Calibrated, Prepared, list[str]]]:
    """A function that calibrates a network whose logits for a split are the first of `LOGITS`, each repeated."""

    def logits(network: None, store: object, rows: Sequence[int], *, device: torch.device) -> NDArray[np.float32]:
        return np.repeat(LOGITS, max(len(rows) // 4, 1), axis=0)[: len(rows)]

    def run(
        counts: Mapping[str, int],
        settings: TrainSettings = QUICK,
        change: Callable[[Prepared], Prepared] = lambda prepared: prepared,
    ) -> tuple[Calibrated, Prepared, list[str]]:
        lines: list[str] = []
        prepared = prepare(read_data(images_in(tmp_path / "scans", counts)), settings, SMALL, lambda line: None)
        prepared = change(prepared)
        return calibrate(cast("Any", None), fitted(ROWS), prepared, settings, lines.append), prepared, lines

    monkeypatch.setattr("ctonnx_train.training.results.run_record.predict_logits", logits)
    return run


def test_the_validation_set_is_calibrated_on_and_the_test_set_is_predicted(
    calibrated_on: Callable[..., tuple[Calibrated, Prepared, list[str]]],
) -> None:
    calibrated, _, lines = calibrated_on(COUNTS)
    assert calibrated.temperature == fit_temperature(LOGITS, np.array([0, 0, 1, 1])) != 1
    assert list(calibrated.probabilities) == ["valid", "test"]
    for split, values in calibrated.probabilities.items():
        expected = LOGITS[: 4 if split == "valid" else 1].astype(np.float64) / calibrated.temperature
        np.testing.assert_array_equal(values, softmax(expected, axis=1))
    assert calibrated.point is not None
    assert (calibrated.point.positive, calibrated.point.positive_images) == (("b",), 2)
    assert calibrated.sets is not None
    assert (calibrated.sets.coverage, calibrated.sets.images) == (QUICK.coverage, {"a": 2, "b": 2})
    assert [line.partition(":")[0] for line in lines] == [f"temperature {calibrated.temperature:.3f}"]


def leaking(*rows: int) -> Callable[[Prepared], Prepared]:
    return lambda made: replace(made, leaked_valid=frozenset(made.data.splits["valid"][row] for row in rows))


@pytest.mark.parametrize(
    ("names", "settings"),
    [(("a", "b"), QUICK), (("benign", "normal"), replace(QUICK, positive=()))],
    ids=["suspicious and others", "classes"],
)
def test_the_temperature_is_that_of_the_images_that_did_not_leak_if_there_are_ten_of_each_kind(
    names: tuple[str, str],
    settings: TrainSettings,
    calibrated_on: Callable[..., tuple[Calibrated, Prepared, list[str]]],
) -> None:
    counts = {f"{split}/{name}": count for split, count in (("train", 2), ("valid", 12)) for name in names}
    logits, labels = np.repeat(LOGITS, 6, axis=0), np.repeat([0, 1], 12)
    every = fit_temperature(logits, labels)
    found, _, lines = calibrated_on(counts, settings, leaking(12, 13))
    honest = ~np.isin(np.arange(24), (12, 13))
    assert found.temperature == fit_temperature(logits[honest], labels[honest]) != every
    assert lines[0].startswith(
        f"temperature {found.temperature:.3f}: negative log-likelihood on the 22 validation images that did not leak "
    )
    found, _, lines = calibrated_on(counts, settings, leaking(12, 13, 14))
    assert found.temperature == every
    assert lines[0].startswith(f"temperature {every:.3f}: negative log-likelihood on the 24 validation images ")
    assert lines[0].endswith("; 3 of them leaked, as fewer than 10 of a kind did not: optimistic")


def test_the_operating_point_needs_one_image_of_each_kind_that_did_not_leak(
    calibrated_on: Callable[..., tuple[Calibrated, Prepared, list[str]]],
) -> None:
    found, _, _ = calibrated_on(COUNTS, change=leaking(2))
    assert found.temperature == fit_temperature(LOGITS, np.array([0, 0, 1, 1]))
    assert found.point is not None
    assert found.point.positive_images == 1
    every, _, _ = calibrated_on(COUNTS, change=leaking(2, 3))  # no image of the other kind would be left
    assert every.point is not None
    assert every.point.leaked_images_used


def test_the_rule_for_patients_is_fitted_on_one_series_of_each(
    calibrated_on: Callable[..., tuple[Calibrated, Prepared, list[str]]], tmp_path: Path
) -> None:
    def with_series(made: Prepared) -> Prepared:
        paths = [sample.path for sample in made.data.splits["valid"]]
        series = dict(zip(paths, ["1", "2", "1", "1"], strict=True))
        patients = Patients(
            origin="labels file",
            names=dict(zip(paths, "AABB", strict=True)),
            studies=dict.fromkeys(paths, "st"),
            series=series,
        )
        groups = {sample.path: "AB".find(patients.names.get(sample.path, "-")) for sample in made.data.samples}
        return replace(made, patients=patients, groups=groups)

    settings = replace(QUICK, aggregate="max")
    counts = {name: count for name, count in COUNTS.items() if name != "test/b"}
    found, prepared, lines = calibrated_on(counts, settings, with_series)
    assert found.patients is not None
    assert found.patients.rule is not None
    scores = found.probabilities["valid"][:, 1]
    assert scores[1] == max(scores[:2])  # the slice that would carry the score of A, if its series were taken
    assert found.patients.rule.operating_point.gap == pytest.approx((scores[0], max(scores[2:])), abs=1e-6)
    words = "one series of each patient is used: left out 1 slice (1 of another series), 1 whole series"
    assert f"validation patients: {words}" in lines
    plan = RunPlan(data=tmp_path / "scans", settings=settings, preprocessing=SMALL, class_names={})
    record = make_record(fitted(ROWS), found, prepared, plan, time.perf_counter())
    patients = record.metrics["valid"]["patients"]
    assert patients["left_out"] == {"slices": {"of another series": 1}, "series": 1, "patients": 0}
    assert patients["suspicious"]["specificity"] == 1.0


def test_patients_who_share_an_image_and_images_that_are_there_twice_count_once(
    calibrated_on: Callable[..., tuple[Calibrated, Prepared, list[str]]],
) -> None:
    def sharing(made: Prepared) -> Prepared:
        paths = [sample.path for sample in made.data.splits["valid"]]
        patients = Patients(origin="labels file", names=dict(zip(paths, "ABCD", strict=True)))
        groups = dict.fromkeys((sample.path for sample in made.data.samples), -1) | dict(
            zip(paths, [0, 1, 2, 2], strict=True)
        )
        return replace(made, patients=patients, groups=groups)

    found, _, _ = calibrated_on(COUNTS, change=sharing)
    assert found.patients is not None
    assert found.patients.rule is not None
    point = found.patients.rule.operating_point
    assert (point.positive_images, point.positive_patients, point.negative_patients) == (2, 1, 2)

    def repeated(made: Prepared) -> Prepared:
        paths = [sample.path for sample in made.data.splits["valid"]]
        made.store.digests[paths[3]] = made.store.digests[paths[2]]
        patients = Patients(origin="labels file", names=dict(zip(paths, "ABCC", strict=True)))
        return replace(made, patients=patients, groups={sample.path: 0 for sample in made.data.samples})

    lines = calibrated_on(COUNTS, change=repeated)[2]
    words = "one series of each patient is used: left out 1 slice (1 exported twice)"
    assert f"validation patients: {words}" in lines


def test_without_test_images_only_the_validation_set_is_evaluated(
    calibrated_on: Callable[..., tuple[Calibrated, Prepared, list[str]]],
) -> None:
    calibrated, _, _ = calibrated_on({name: count for name, count in COUNTS.items() if name != "test/b"})
    assert list(calibrated.probabilities) == ["valid"]


@pytest.mark.parametrize(
    ("rows", "value", "expected"),
    [
        (ROWS, 0.12345678, {"best_value": 0.123457, "seconds_per_epoch": 4.0, "data_share": 0.25}),
        (
            [{"seconds": 0.125, "train_seconds": 0.0, "data_seconds": 0.0}],
            None,
            {"best_value": None, "seconds_per_epoch": 0.12, "data_share": 0.0},
        ),
    ],
)
def test_the_record_has_the_metrics_of_each_split_and_the_numbers_of_the_training(
    rows: list[dict[str, float]],
    value: float | None,
    expected: dict[str, Any],
    calibrated_on: Callable[..., tuple[Calibrated, Prepared, list[str]]],
    tmp_path: Path,
) -> None:
    calibrated, prepared, _ = calibrated_on(COUNTS)
    blank = prepared.data.splits["valid"][2].path
    prepared.store.impressions[blank] = Impression("the image is blank", None)
    plan = RunPlan(data=tmp_path / "scans", settings=QUICK, preprocessing=SMALL, class_names={})
    record = make_record(fitted(rows, value), calibrated, prepared, plan, time.perf_counter() - 12.34)
    assert (record.temperature, record.operating_point) == (calibrated.temperature, calibrated.point)
    assert record.prediction_sets == calibrated.sets is not None
    assert (record.shortcuts, record.acquisition) == (prepared.shortcuts, prepared.acquisition)
    assert record.brightness == prepared.brightness
    assert prepared.shortcuts is not None
    for split, labels in (("valid", [0, 0, 1, 1]), ("test", [1])):
        probabilities = calibrated.probabilities[split]  # type: ignore[index]
        assert record.metrics[split] == {
            **evaluate(probabilities, labels, ("a", "b")),
            "suspicious": suspicious_metrics(calibrated.point, probabilities, np.array(labels), ("a", "b")),
            "decisions": decision_metrics(
                probabilities,
                np.array(labels),
                ("a", "b"),
                point=calibrated.point,
                sets=calibrated.sets,
                has_caution=np.array([split == "valid" and row == 2 for row in range(len(labels))]),
            ),
        }
    assert record.training == {
        "epochs": len(rows),
        "interrupted": False,
        "best_epoch": 2,
        "best_by": "loss",
        "precision": "fp32",
        "device": "cpu",
        "seconds": pytest.approx(13, abs=0.7),
        "images_in_memory": 9,
        **expected,
    }


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_groups_are_resampled_as_a_whole_in_the_metrics(images_in: ImagesIn, tmp_path: Path) -> None:
    counts = {f"{split}/{name}/p{split}{name}{p}": 2 for split in ("train", "valid") for name in "ab" for p in "12"}
    root = images_in(tmp_path / "scans", counts | {"test/a/ptest": 3, "test/b/ptest": 1})
    options = replace(QUICK, positive=(), group_regex=r"/(p[^/]+)/")
    made = train(root, settings=options, preprocessing=SMALL, name="run", root=tmp_path / "runs")
    how = made.record.metrics["valid"]["bootstrap"]
    assert (how["unit"], how["units"], made.record.metrics["valid"]["images"]) == ("patient", 4, 8)
    assert "intervals" in made.record.metrics["valid"]
    one_group = made.record.metrics["test"]
    assert one_group["images"] == 4
    assert "intervals" not in one_group
    assert "bootstrap" not in one_group


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_without_suspicious_classes_the_missing_operating_point_is_logged(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/Normal": 2, "train/Benign": 2, "valid/Normal": 1})
    lines: list[str] = []
    made = train(
        root, settings=replace(QUICK, positive=()), preprocessing=SMALL, root=tmp_path / "runs", log=lines.append
    )
    assert made.record.operating_point is None
    assert made.record.metrics["valid"]["suspicious"] is None
    assert made.record.prediction_sets is made.record.metrics["valid"]["decisions"] is None
    assert lines[-2:] == [
        "no operating point for 'suspicious': it needs images of suspicious classes and of others (--positive)",
        "no prediction sets: they need validation images of every class, found none of benign",
    ]


@pytest.mark.usefixtures("small_backbone")
def test_a_run_with_patients_has_a_rule_for_them_in_its_record_report_and_export(
    images_in: ImagesIn, tmp_path: Path
) -> None:
    counts = {f"{split}/{name}/p{split}{name}{p}": 3 for split in ("train", "valid") for name in "ab" for p in "1234"}
    root = images_in(tmp_path / "scans", counts)
    options = replace(QUICK, group_regex=r"/(p[^/]+)/", top_k=2)
    lines: list[str] = []
    made = train(root, settings=options, preprocessing=SMALL, name="run", root=tmp_path / "runs", log=lines.append)
    rule = made.record.patient_rule
    assert rule is not None
    assert (rule.patients, rule.operating_point.positive_images, rule.operating_point.negative_images) == (8, 4, 4)
    assert json.loads(made.run.record_file.read_text())["patient_rule"]["aggregate"] == rule.aggregate
    assert read_record(made.run).patient_rule == rule
    (chosen,) = (line for line in lines if line.startswith("8 validation patients: score by "))
    assert re.search(r"chosen by its AUROC \(max \d\.\d+, mean \d\.\d+, top-2 \d\.\d+\)", chosen)
    assert any("on the validation images, each patient counting once, " in line for line in lines)
    found = made.record.metrics["valid"]["patients"]
    assert (found["count"], found["images"], found["rule"]["aggregate"]) == (8, 24, rule.aggregate)
    point = made.record.operating_point
    assert point is not None
    assert (point.positive_images, point.positive_patients) == (12, 4)
    report = (made.run.evaluation_folder / "valid" / "report.md").read_text()
    assert "\n## Patients\n\n8 patients with 24 images (patients: --group-regex). " in report
    shown = "\n".join(summary(made.record, made.leaks))
    assert "\nvalidation, per patient: accuracy " in shown
    assert "warning: the operating point of patients was fitted on 4 suspicious patients, too few" in shown
    evaluated = open_evaluated_model(made.run.folder)
    document = evaluate_model(evaluated, root, split="valid", group_regex=r"/(p[^/]+)/", replicates=0).document
    assert document["patients"]["rule"] == found["rule"]
    assert document["patients"]["suspicious"] == found["suspicious"]


def test_an_aggregate_without_patients_is_rejected_before_the_training(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 2, "train/b": 2, "valid/a": 1, "valid/b": 1})
    for options in ({"aggregate": "max"}, {"top_k": 2}):
        with pytest.raises(DataError, match=r"^expected the patients of the images for --aggregate and --top-k, found"):
            train(root, settings=replace(QUICK, **options), preprocessing=SMALL, root=tmp_path / "runs")
    settings = replace(QUICK, positive=(), aggregate="max")
    root = images_in(tmp_path / "harmless", {"train/normal": 2, "train/benign": 2})
    with pytest.raises(DataError, match=r"^expected suspicious classes for --aggregate max, found none of benign, nor"):
        train(root, settings=settings, preprocessing=SMALL, root=tmp_path / "runs")
