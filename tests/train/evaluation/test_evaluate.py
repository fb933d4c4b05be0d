"""`evaluate_model`: the evaluated images, the document, and the comparison of two models."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from PIL import Image
from tests.train.grey_models import write_model, write_scans
from tests.train.stress.made import NOVELTY

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx.parity.comparison import compare_probabilities
from ctonnx.prediction.predictor import Predictor
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.leakage import labelled_fingerprint
from ctonnx_train.data.pixel_store import Pixels, PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.evaluation.evaluate import SCHEMA_VERSION, evaluate_model, summarize
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, Predicted, open_evaluated_model
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.threshold import suspicious_metrics
from ctonnx_train.evaluation.statistics.metrics import evaluate

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

PIXELS = Preprocessing(size=32)


def rejected(message: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        evaluate_model(*arguments, **options)
    assert str(caught.value) == message


def test_the_document_has_the_model_the_data_and_the_metrics_of_the_split(
    evaluated: EvaluatedModel, labelled: Path
) -> None:
    found = evaluate_model(evaluated, labelled, replicates=20, seed=3)
    samples = read_data(labelled, classes=evaluated.classes).splits["test"]
    stored = PixelStore(open_source(labelled), samples, PIXELS)
    expected = evaluated.probabilities(stored, range(5))
    assert found.labels.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(found.probabilities, expected)
    assert found.document == {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": "tiny",
            "kind": "PyTorch checkpoint",
            "path": "runs/tiny",
            "classes": ["a", "b", "c"],
            "synthetic": False,
            "fitted_on": "validation images",
        },
        "data": {
            "path": str(labelled),
            "name": labelled.name,
            "fingerprint": labelled_fingerprint(samples, stored.digests, evaluated.classes),
            "split": "test",
            "images": 5,
            "trained_on_with_copies": None,
            "seen_in_training": {"trained_on": None, "chosen_by": None, "dropped": 0},
            "patients": None,
            "recalibrated_on": False,
        },
        "metrics": evaluate(expected, [0, 0, 1, 1, 1], evaluated.classes, replicates=20, seed=3),
        "suspicious": None,
        "decisions": None,
        "caveats": [
            "the balanced accuracy of 0.500 [0.000, 0.500] on the test images is no better than chance (0.500)",
            "the accuracy of 0.400 [0.000, 0.705] on the test images is no better than always naming the largest "
            "class, 'b' (0.600)",
        ],
    }
    json.dumps(found.document, allow_nan=False)


@pytest.mark.parametrize(
    ("fitted_on", "values"),
    [("validation images", ", temperature, threshold and prediction sets"), ("scans of 'site'", "")],
)
def test_the_caveats_name_the_images_that_the_values_were_fitted_on(fitted_on: str, values: str) -> None:
    found = summarize(
        model={"fitted_on": fitted_on},
        data={
            "split": "test",
            "seen_in_training": {"trained_on": 0, "chosen_by": 2, "dropped": 0},
            "recalibrated_on": True,
        },
        metrics={},
        suspicious=None,
        sets=PredictionSets(coverage=0.95, lowest={"a": 0.1}, images={"a": 5}),
        novelty=replace(NOVELTY, images=5),
        missing="something is missing",
    )["caveats"]
    assert found[:2] == [
        "the model was recalibrated on these very scans: its metrics on them are optimistic",
        f"2 of these images are among the validation images that selected its best epoch{values}: expect somewhat "
        "lower metrics on others",
    ]
    assert found[2].startswith(f"too few {fitted_on} for prediction sets with a coverage of 0.95")
    assert found[3].startswith(f"the novelty threshold was fitted on 5 {fitted_on}, too few")
    assert found[4:] == ["something is missing"]


def test_a_class_that_the_data_lacks_keeps_its_place(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    found = evaluate_model(evaluated, images_in(tmp_path / "few", {"test/c": 2, "test/a": 1}), replicates=0)
    assert found.labels.tolist() == [0, 2, 2]
    assert found.document["metrics"]["per_class"]["b"]["images"] == 0


@pytest.mark.parametrize(
    ("without", "split", "images"), [([], "test", 5), (["test"], "valid", 3), (["test", "valid"], "all", 8)]
)
def test_the_test_images_are_taken_else_the_validation_images_else_all(
    without: list[str], split: str, images: int, evaluated: EvaluatedModel, labelled: Path
) -> None:
    for name in without:
        shutil.rmtree(labelled / name)
    lines: list[str] = []
    data = evaluate_model(evaluated, labelled, replicates=0, log=lines.append).document["data"]
    assert (data["split"], data["images"]) == (split, images)
    assert lines == [f"PyTorch checkpoint 'tiny' on {images} images ({split}) of {labelled}"]


@pytest.mark.parametrize(("split", "images"), [("train", 8), ("valid", 3), ("test", 5), ("all", 16)])
def test_a_split_can_be_chosen(split: Any, images: int, evaluated: EvaluatedModel, labelled: Path) -> None:
    data = evaluate_model(evaluated, labelled, split=split, replicates=0).document["data"]
    assert (data["split"], data["images"]) == (split, images)


def test_a_folder_without_splits_is_evaluated_whole(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    data = evaluate_model(evaluated, images_in(tmp_path / "flat", {"a": 2, "b": 1}), replicates=0).document["data"]
    assert (data["split"], data["images"]) == ("all", 3)


def test_a_split_that_is_not_there_is_reported_with_those_that_are(evaluated: EvaluatedModel, labelled: Path) -> None:
    shutil.rmtree(labelled / "test")
    rejected(
        f"expected images of the split 'test' in '{labelled}', found those of 'train', 'valid' only; choose another "
        "--split, or all",
        evaluated,
        labelled,
        split="test",
    )


def test_a_folder_without_images_is_reported(evaluated: EvaluatedModel, tmp_path: Path) -> None:
    rejected(
        f"expected labelled images in '{tmp_path}', found none; name a folder with images in class folders",
        evaluated,
        tmp_path,
    )


def test_a_missing_folder_is_reported(evaluated: EvaluatedModel, tmp_path: Path) -> None:
    expected = f"expected a data folder or a MedMNIST .npz file at '{tmp_path / 'no'}', found nothing; check the path"
    rejected(expected, evaluated, tmp_path / "no")
    rejected(expected, replace(evaluated, class_names={"x": "a"}), tmp_path / "no")


def test_a_class_that_the_model_does_not_know_is_reported(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    root = images_in(tmp_path / "other", {"test/a": 1, "test/d": 1})
    rejected(
        f"expected only the model's classes ('a', 'b', 'c') in every split of '{root}', found 'd' too; rename the "
        "folder or use --class-name OLD=NEW; for other classes: ctonnx evaluate --external",
        evaluated,
        root,
    )


def test_folders_get_the_names_that_the_training_gave_them(
    evaluated: EvaluatedModel, tmp_path: Path, images_in: ImagesIn
) -> None:
    """The names that the command gives come first; those of folders that are not there, or are empty, do not matter."""
    trained = replace(evaluated, class_names={"x": "a", "y": "b", "z": "c", "empty": "c", "nowhere": "a", "a": "a"})
    root = images_in(tmp_path / "named", {"test/x": 1, "test/y": 1, "test/z": 1, "test/a": 1})
    (root / "test" / "empty").mkdir()
    (root / "test" / "x" / "nowhere").mkdir()
    found = evaluate_model(trained, root, class_names={"y": "c"}, replicates=0)
    assert found.labels.tolist() == [0, 0, 2, 2]


def test_an_array_file_gets_the_names_that_the_training_gave_its_numbers(
    evaluated: EvaluatedModel, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "few.npz", test_images=images, test_labels=np.array([[2], [0], [0], [2]]))
    trained = replace(evaluated, class_names={"0": "b", "1": "a", "2": "c", "some folder": "a"})
    assert evaluate_model(trained, tmp_path / "few.npz", replicates=0).labels.tolist() == [2, 1, 1, 2]


def test_a_name_for_a_folder_that_is_not_there_is_rejected(evaluated: EvaluatedModel, labelled: Path) -> None:
    rejected(
        f"expected a class folder named 'q' in '{labelled}', found 'a', 'b', 'c'; check --class-name",
        evaluated,
        labelled,
        class_names={"q": "a"},
    )


def test_the_models_operating_point_is_measured(evaluated: EvaluatedModel, labelled: Path) -> None:
    point = OperatingPoint(positive=("a", "c"), threshold=0.6, sensitivity=0.9, specificity=0.8)
    found = evaluate_model(replace(evaluated, operating_point=point), labelled, replicates=0)
    assert found.document["suspicious"] == suspicious_metrics(
        point, found.probabilities, found.labels, evaluated.classes
    )
    assert found.document["suspicious"]["sensitivity_images"] == 2


def test_the_models_decisions_are_measured_with_its_sets_and_its_novelty(
    evaluated: EvaluatedModel, labelled: Path
) -> None:
    point = OperatingPoint(positive=("a", "c"), threshold=0.6, sensitivity=0.9, specificity=0.8)
    sets = PredictionSets(coverage=0.9, lowest={"a": 0.4, "b": 0.35, "c": 0.3}, images={"a": 30, "b": 30, "c": 3})
    novelty = Novelty(
        threshold=1.0, quantile=0.95, quantiles=tuple(range(101)), images=9, training_images=9, components=2
    )

    def predict(store: Pixels, rows: Sequence[int]) -> Predicted:
        return Predicted(evaluated.probabilities(store, rows), np.arange(len(rows), dtype=np.float32))

    model = replace(evaluated, operating_point=point, prediction_sets=sets, novelty=novelty, predict=predict)
    found = evaluate_model(model, labelled, replicates=0)
    images = len(found.labels)
    assert found.document["decisions"] == decision_metrics(
        found.probabilities,
        found.labels,
        evaluated.classes,
        point=point,
        sets=sets,
        is_novel=np.arange(images) > 1,
        has_caution=np.zeros(images, bool),
    )
    assert found.document["decisions"]["referred_by"]["novelty"] == images - 2
    assert any("prediction sets with a coverage of 0.9" in caveat for caveat in found.document["caveats"])


def test_images_that_predict_would_refer_for_a_warning_are_referred_and_read_once(tmp_path: Path) -> None:
    data = write_scans(tmp_path / "scans", {"normal": 12, "tumor": 12})
    Image.new("L", (40, 40), 90).save(data / "normal/blank.png")
    file = write_model(tmp_path / "model.onnx")
    model = open_evaluated_model(file)
    found = evaluate_model(model, data, replicates=0).document["decisions"]
    with Predictor(file) as predictor:
        decisions = [predictor.predict(path).decision for path in sorted(data.rglob("*.png"))]
    assert found["referred_by"]["caution"] == 1
    assert found["referred"] == decisions.count("refer") == 1


def test_another_model_is_compared_whatever_its_order_of_classes_and_its_pixels(
    evaluated: EvaluatedModel, labelled: Path
) -> None:
    def turned(store: Pixels, rows: Sequence[int]) -> Predicted:
        return Predicted(evaluated.probabilities(store, rows)[:, [2, 0, 1]])  # the order c, a, b

    other = replace(evaluated, classes=("c", "a", "b"), predict=turned, path=Path("m.onnx"), kind="ONNX fp32")
    same = evaluate_model(evaluated, labelled, other=other, replicates=0).document["comparison"]
    assert (same["agreement"], same["max_dp"], same["accuracy"]) == (1.0, 0.0, same["other_accuracy"])
    assert same["other"] == {
        "name": "tiny",
        "kind": "ONNX fp32",
        "path": "m.onnx",
        "classes": ["c", "a", "b"],
        "synthetic": False,
        "fitted_on": "validation images",
    }
    larger = replace(evaluated, preprocessing=Preprocessing(size=64))
    found = evaluate_model(evaluated, labelled, other=larger, replicates=0)
    samples = read_data(labelled).splits["test"]
    others = evaluated.probabilities(PixelStore(open_source(labelled), samples, Preprocessing(size=64)), range(5))
    comparison = found.document["comparison"]
    expected = compare_probabilities(found.probabilities, others)
    assert (comparison["agreement"], comparison["max_dp"], comparison["mean_dp"]) == expected
    assert comparison["max_dp"] > 0
    assert comparison["accuracy"] == found.document["metrics"]["accuracy"]
    assert comparison["other_accuracy"] == (others.argmax(axis=1) == found.labels).mean()


def test_comparison_is_what_a_hand_computes(evaluated: EvaluatedModel, labelled: Path) -> None:
    """The five images are of the classes a, a, b, b, b."""
    first = np.array([[0.75, 0.25, 0], [0.5, 0.25, 0.25], [0.5, 0.5, 0], [0, 0.25, 0.75], [0.25, 0.75, 0]])
    second = np.array([[0.75, 0.25, 0], [0.25, 0.5, 0.25], [0.25, 0.75, 0], [0.75, 0, 0.25], [0.25, 0.75, 0]])
    model, other = (
        replace(evaluated, predict=lambda store, rows, values=values: Predicted(values))
        for values in (first, second.astype(np.float32))
    )
    comparison = evaluate_model(model, labelled, other=other, replicates=0).document["comparison"]
    del comparison["other"], comparison["seen_in_training"]
    assert comparison == {
        "images": 5,
        "agreement": 0.4,
        "max_dp": 0.75,
        "mean_dp": pytest.approx(2.5 / 15),
        "accuracy_difference": 0.0,
        "mcnemar": {"only_first_right": 1, "only_second_right": 1, "p_value": 1.0},
        "accuracy": 0.6,
        "other_accuracy": 0.6,
    }


@pytest.mark.parametrize(("size", "times"), [(32, 1), (64, 2)])
def test_images_are_read_again_only_for_a_model_with_other_pixels(
    size: int, times: int, evaluated: EvaluatedModel, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def noted(source: Any, samples: Any, preprocessing: Preprocessing, **options: Any) -> PixelStore:
        read.append(preprocessing.size)
        return PixelStore(source, samples, preprocessing, **options)

    monkeypatch.setattr("ctonnx_train.evaluation.evaluate.PixelStore", noted)
    other = replace(evaluated, preprocessing=Preprocessing(size=size))
    found = evaluate_model(evaluated, labelled, other=other, replicates=0)
    assert read == [32, size][:times]
    assert (found.document["comparison"]["max_dp"] == 0) is (times == 1)


def test_a_model_with_other_classes_cannot_be_compared(evaluated: EvaluatedModel, labelled: Path) -> None:
    rejected(
        "expected a model with the classes 'a', 'b', 'c' to compare with, found one with 'a', 'b'",
        evaluated,
        labelled,
        other=replace(evaluated, classes=("a", "b")),
    )
