"""`evaluate_model` where the patients are known: groups, metrics per patient, and the slices that they come from."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.train.evaluation.test_evaluate import ImagesIn, rejected

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.evaluate import evaluate_model
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel
from ctonnx_train.evaluation.fitting.threshold import suspicious_metrics
from ctonnx_train.evaluation.statistics.metrics import evaluate


def test_groups_are_resampled_as_a_whole(evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn) -> None:
    root = images_in(tmp_path / "patients", {"test/a/p1": 2, "test/a/p2": 2, "test/b/p3": 3, "test/b": 2})
    # The last two's paths name no patient.
    found = evaluate_model(evaluated, root, group_regex=r"/(p\d)/", replicates=50)
    groups = [0, 0, 1, 1, 2, 2, 2, 3, 4]
    assert found.document["metrics"] == evaluate(
        found.probabilities, found.labels.tolist(), evaluated.classes, groups=groups, unit="patient", replicates=50
    )
    assert found.document["metrics"]["bootstrap"]["units"] == 5


def test_copies_are_of_one_group_whatever_their_paths(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "patients", {"test/a/p1": 2, "test/a/p2": 1, "test/b": 1})
    shutil.copy(root / "test/a/p1/scan 0.png", root / "test/b/copy.png")
    found = evaluate_model(evaluated, root, group_regex=r"/(p\d)/", replicates=50)
    expected = evaluate(
        found.probabilities,
        found.labels.tolist(),
        evaluated.classes,
        groups=[0, 0, 1, 0, 2],
        unit="group of patients",
        replicates=50,
    )
    assert found.document["metrics"] == expected


def test_patients_have_metrics_by_the_chosen_aggregate(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "patients", {"test/a/p1": 2, "test/a/p2": 2, "test/b/p3": 3, "test/b": 2})
    options: dict[str, Any] = {"group_regex": r"/(p\d)/", "replicates": 0}
    point = OperatingPoint(positive=("a", "c"), threshold=0.6, sensitivity=0.9, specificity=0.8)
    model = replace(evaluated, operating_point=point)
    alone = evaluate_model(model, root, **options).document
    assert alone["patients"] == {"count": 5, "images": 9, "origin": "--group-regex", "rule": None}
    known = evaluate_model(model, root, **options, aggregate="top-k", top_k=2).document["patients"]
    assert known["rule"] == {"aggregate": "top-k", "k": 2, "threshold": None, "patients": None}
    assert known["decisions"] is None  # the threshold of images is not one of patients
    assert known["metrics"]["patients"] == 5
    groups = [0, 0, 1, 1, 2, 2, 2, 3, 4]
    found = evaluate_model(model, root, **options)
    assert found.document["suspicious"] == suspicious_metrics(
        point, found.probabilities, found.labels, model.classes, groups
    )
    rule = PatientRule(aggregate="mean", operating_point=point, patients=12)
    by_rule = evaluate_model(replace(model, patient_rule=rule), root, **options).document
    assert by_rule["patients"]["rule"] == {"aggregate": "mean", "k": None, "threshold": 0.6, "patients": 12}
    assert by_rule["patients"]["decisions"]["patients"] == 5
    assert "patients" not in evaluate_model(replace(model, patient_rule=rule), root, replicates=0).document
    rejected(
        "expected the patients of the images for --aggregate max, found none; name them: --labels or --group-regex",
        model,
        root,
        aggregate="max",
    )


def test_given_patients_replace_those_of_the_paths(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "patients", {"test/a": 4, "test/b": 4})
    paths = [sample.path for sample in read_data(root, classes=evaluated.classes).splits["test"]]
    patients = Patients(
        origin="labels file",
        names={path: f"p{row // 2}" for row, path in enumerate(paths)},
        subgroups={"sex": dict.fromkeys(paths, "F")},
    )
    document = evaluate_model(evaluated, root, patients=patients, aggregate="mean", replicates=0).document
    assert (document["patients"]["count"], document["patients"]["origin"]) == (4, "labels file")
    assert document["patients"]["subgroups"]["by"]["sex"]["rare"] == {"values": 1, "patients": 4}


def test_one_series_of_each_patient_is_evaluated_as_in_prediction(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "patients", {"test/a": 4, "test/b": 4})
    paths = [sample.path for sample in read_data(root, classes=evaluated.classes).splits["test"]]
    patients = Patients(
        origin="labels file",
        names={path: f"p{row // 4}" for row, path in enumerate(paths)},
        series={path: "21"[row % 4 > 0] for row, path in enumerate(paths)},
    )
    lines: list[str] = []
    document = evaluate_model(
        evaluated, root, patients=patients, aggregate="mean", replicates=0, log=lines.append
    ).document
    assert document["patients"]["left_out"] == {"slices": {"of another series": 2}, "series": 2, "patients": 0}
    assert document["metrics"]["images"] == 8
    words = "one series of each patient is used: left out 2 slices (2 of another series), 2 whole series"
    assert f"patients: {words}" in lines


def test_an_image_that_a_patient_has_twice_counts_once(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "patients", {"test/a/p1": 2, "test/b/p2": 2})
    first = sorted((root / "test/a/p1").iterdir())[0]
    shutil.copy(first, first.with_name("copy.png"))
    found = evaluate_model(evaluated, root, group_regex=r"/(p\d)/", aggregate="mean", replicates=0).document
    assert found["patients"]["left_out"] == {"slices": {"exported twice": 1}, "series": 0, "patients": 0}


def with_patients(evaluated: EvaluatedModel, root: Path, **known: Any) -> EvaluatedModel:
    """Returns the model as trained on other images, with patients from their paths, of a folder."""
    data = {"patients": {"origin": "--group-regex"}}
    digests: dict[Split, frozenset[str]] = {"train": frozenset({"of another image"})}
    return replace(evaluated, **{"data": data, "data_root": root.resolve(), "digests": digests, **known})


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("compared", [True, False])
def test_number_of_another_site_is_not_that_of_a_training_patient(
    own: bool, compared: bool, evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "patients", {"test/a/p1": 2, "test/a/p2": 2, "test/b/p3": 3})
    model = with_patients(evaluated, root if own else tmp_path, training_patients=frozenset({"p1"}))
    lines: list[str] = []
    options: dict[str, Any] = {"group_regex": r"/(p\d)/", "replicates": 0, "log": lines.append}
    if compared:
        options["other"] = model
    data = evaluate_model(model, root, **options).document["data"]
    counts = {"trained_on": 1, "chosen_by": 0} if own else {"trained_on": None, "chosen_by": None}
    assert data["patients"] == {"origin": "--group-regex", "patients": 3, **counts}
    assert sum("1 of the 3 patients is among those that" in line for line in lines) == own * (1 + compared)
    left = evaluate_model(model, root, **options, drop_leaks=True).document["data"]
    assert left["images"] == (5 if own else 7)
    assert any("the training patients of a model are unknown here" in line for line in lines) != own


def test_other_images_of_validation_patients_are_counted(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "patients", {"test/a/p1": 2, "test/a/p2": 2, "test/b/p3": 3})
    model = with_patients(
        evaluated, root, training_patients=frozenset({"p9"}), validation_patients=frozenset({"p1", "p3"})
    )
    options: dict[str, Any] = {"group_regex": r"/(p\d)/", "replicates": 0}
    found = evaluate_model(model, root, **options).document
    counts = {"origin": "--group-regex", "patients": 3, "trained_on": 0, "chosen_by": 2}
    assert found["data"]["patients"] == counts
    assert (
        "other images of 2 of these patients are among the validation images that selected its best epoch, "
        "temperature, threshold and prediction sets: expect somewhat lower metrics on others"
    ) in found["caveats"]
    samples = [sample for sample in read_data(root, classes=evaluated.classes).splits["test"] if "p1" in sample.path]
    digests = PixelStore(open_source(root), samples, evaluated.preprocessing).digests
    known = replace(model, digests={**model.digests, "valid": frozenset(digests.values())})
    found = evaluate_model(known, root, **options).document  # the images of p1 are the validation images themselves
    assert found["data"]["patients"] == {**counts, "chosen_by": 1}
    assert any(caveat.startswith("other images of 1 of these patients are among") for caveat in found["caveats"])
    assert any(caveat.startswith("2 of these images are among the validation images") for caveat in found["caveats"])
