"""`evaluate_external`: a model of three classes on data with two others."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from tests.train.grey_models import CLASSES, POINT, write_model, write_scans

from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.errors import DataError, ModelError
from ctonnx.images.loading import load_with_origin
from ctonnx.inference.session import open_session
from ctonnx.prediction.predictor import Predictor
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.evaluated_model import open_evaluated_model
from ctonnx_train.evaluation.external.external import evaluate_external
from ctonnx_train.evaluation.external.report import as_markdown

KINDS = {"Malignant cases": "tumor", "Bengin cases": "normal"}
SETS = PredictionSets(coverage=0.9, lowest=dict.fromkeys(CLASSES, 0.2), images=dict.fromkeys(CLASSES, 40))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.fp32.onnx", prediction_sets=SETS)


def scans(tmp_path: Path, dimmed: float = 1.0, **counts: int) -> Path:
    folders = {f"{name.capitalize()} cases": count for name, count in counts.items()}
    return write_scans(tmp_path / "hospital", folders, dimmed=dimmed, kinds=KINDS)


def external(model: Path, data: Path, **options: Any) -> dict[str, Any]:
    return evaluate_external(model, data, replicates=50, **options)


def test_metrics_are_those_of_the_score_and_the_decisions(model: Path, tmp_path: Path) -> None:
    data = scans(tmp_path, dimmed=0.85, malignant=50, bengin=30)
    lines: list[str] = []
    found = external(model, data, log=lines.append)
    assert lines == ["positive: malignant; negative: benign", f"ONNX fp32 'grey' on 80 images (all) of {data}"]
    json.dumps(found, allow_nan=False)
    files = [*sorted(data.glob("Malignant cases/*")), *sorted(data.glob("Bengin cases/*"))]
    with Predictor(model) as predictor:
        records = [predictor.predict(file) for file in files]
    score = np.array([record.score for record in records], float)
    truth = np.arange(80) < 50
    assert found["auroc"]["value"] == pytest.approx(roc_auc_score(truth, score), abs=1e-6)
    assert found["sensitivity"]["value"] == pytest.approx((score[:50] >= 0.5).mean())
    assert found["specificity"]["value"] == pytest.approx((score[50:] < 0.5).mean())
    assert found["data"]["classes"] == {"benign": 30, "malignant": 50}
    assert (found["data"]["positive"], found["data"]["negative"]) == (["malignant"], ["benign"])
    decisions = found["decisions"]["positive"]
    assert sum(share["value"] for share in decisions.values()) == pytest.approx(1)
    assert found["missed"] == decisions["negative"]
    assert 0 < found["referred"]["value"] < 1
    referred = sum(record.decision == "refer" for record in records)
    assert found["referred_by"] == {"set": referred, "caution": 0}  # the model has no novelty


def test_shift_is_seen_and_the_point_does_not_hold(model: Path, tmp_path: Path) -> None:
    found = external(model, scans(tmp_path, dimmed=0.5, malignant=60, bengin=30))
    assert found["verdict"]["name"] == "does not hold"
    assert found["verdict"]["sentence"].startswith("the operating point does not hold here: sensitivity 0.")
    assert found["shift"]["facts"]["mean"]["here"] < 60
    data = scans(tmp_path / "good", malignant=100, bengin=60)
    assert external(model, data)["verdict"]["name"] == "not shown"  # the specificity, on 60 scans
    easier = replace(POINT, specificity=0.9)
    good = write_model(tmp_path / "easier.onnx", operating_point=easier)
    assert external(good, data)["verdict"]["name"] == "holds"
    grouped = external(good, data, group_regex=r"/(\d)\d*\.png")
    assert (grouped["verdict"]["name"], grouped["data"]["groups"]) == ("not shown", 10)
    assert grouped["sensitivity"]["effective_images"] < 10
    for name in ("sensitivity", "specificity", "referred", "missed"):
        assert grouped[name]["value"] == external(good, data)[name]["value"]


def test_each_scan_counts_once_and_a_warning_refers_it(model: Path, tmp_path: Path) -> None:
    data = scans(tmp_path, malignant=20, bengin=20)
    before = external(model, data)
    Image.new("L", (40, 40), 10).save(data / "Bengin cases/blank.png")
    shutil.copy(data / "Bengin cases/0.png", data / "Bengin cases/copy.png")
    shutil.copy(data / "Bengin cases/1.png", data / "Malignant cases/conflict.png")
    lines: list[str] = []
    found = external(model, data, log=lines.append)
    assert lines[1:3] == [
        "left out: 2 scans with a copy on the other side",
        "left out: 1 scan with identical pixels to another",
    ]
    assert found["data"]["copies"] == {"repeated": 1, "conflicting": 2}
    assert (found["data"]["images"], found["data"]["classes"]) == (40, {"benign": 20, "malignant": 20})
    assert (found["cautions"], before["cautions"]) == (1, 0)
    assert found["decisions"]["negative"]["refer"]["value"] > 0
    assert found["data"]["fingerprint"] != before["data"]["fingerprint"]
    text = as_markdown(found)
    by_set = found["referred_by"]["set"]
    assert f"Referred by (a scan may have several reasons): prediction set {by_set}, warning 1." in text
    assert "Left out: 1 identical to another, 2 with a copy on the other side. The intervals assume independent" in text


def test_each_scan_is_decoded_once_and_the_model_is_opened_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, opened, read = scans(tmp_path, malignant=3, bengin=3), list[Any](), list[Any]()

    def opening(*given: Any, **options: Any) -> Any:
        opened.append(given)
        return open_session(*given, **options)

    def reading(source: Any) -> Any:
        read.append(source)
        return load_with_origin(source)

    monkeypatch.setattr("ctonnx.prediction.predictor.open_session", opening)
    monkeypatch.setattr("ctonnx_train.data.pixel_store.load_with_origin", reading)
    monkeypatch.setattr("ctonnx_train.data.pixel_store.load", None)
    closed: list[Predictor] = []
    monkeypatch.setattr(Predictor, "close", lambda predictor: closed.append(predictor))
    external(model, data)
    assert len(closed) == 1
    assert (len(opened), len(read), len(set(read))) == (1, 6, 6)


@pytest.mark.parametrize(("side", "other"), [("malignant", "negative"), ("bengin", "positive")])
def test_one_kind_alone_lists_the_metrics_that_cannot_be_computed(
    side: str, other: str, model: Path, tmp_path: Path
) -> None:
    found = external(model, scans(tmp_path, **{side: 40}))
    assert found["auroc"] == {"value": None, "interval": None, "images": 0}
    assert found["verdict"]["name"] in ("not shown", "unknown")
    assert found["verdict"]["name"] == ("not shown" if side == "malignant" else "unknown")
    assert found["caveats"][0].startswith(f"there are no {other} scans: AUROC")
    assert found["missed"]["images"] == (40 if side == "malignant" else 0)
    json.dumps(found, allow_nan=False)


def test_training_images_are_counted_or_left_out(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = scans(tmp_path, malignant=20, bengin=20)
    with pytest.raises(DataError, match="for --drop-leaks, found no run with their digests next to it"):
        external(model, data, drop_leaks=True)
    from ctonnx_train.data.pixel_store import pixel_digest

    with Image.open(data / "Bengin cases/3.png") as image:
        digests: dict[Split, frozenset[str]] = {"train": frozenset({pixel_digest(image)})}
    with Image.open(data / "Malignant cases/4.png") as image:
        digests["valid"] = frozenset({pixel_digest(image)})
    monkeypatch.setattr(
        "ctonnx_train.evaluation.external.external.open_evaluated_model",
        lambda file, threads: replace(open_evaluated_model(file), digests=digests),
    )
    lines: list[str] = []
    found = external(model, data, log=lines.append)
    assert "warning: the model was trained on 1 of the 40 images" in lines
    assert found["caveats"][-1] == "the model was trained on some of these scans: the metrics are optimistic"
    assert found["caveats"][0] == (
        "1 of these images is among the validation images that selected its best epoch, temperature, threshold and "
        "prediction sets: expect somewhat lower metrics on others"
    )
    assert found["data"]["seen_in_training"] == {"trained_on": 1, "chosen_by": 1, "dropped": 0}
    seen = external(model, data, drop_leaks=True)["data"]["seen_in_training"]
    assert seen == {"trained_on": 0, "chosen_by": 1, "dropped": 1}


def test_split_and_sides_can_be_chosen(model: Path, tmp_path: Path) -> None:
    kinds = {f"{split}/{name}": kind for split in ("train", "test") for name, kind in (("x", "tumor"), ("y", "normal"))}
    data = write_scans(tmp_path / "split", dict.fromkeys(kinds, 5), kinds=kinds)
    found = external(model, data, split="test", negative=["y"])
    assert (found["data"]["images"], found["data"]["positive"]) == (10, ["x"])
    with pytest.raises(
        DataError, match=r"^expected images of the split 'valid' in '.*', found those of 'train', 'test'; choose"
    ):
        external(model, data, split="valid", negative=["y"])


def test_model_without_a_point_is_rejected(tmp_path: Path) -> None:
    file = write_model(tmp_path / "model.fp32.onnx", operating_point=None)
    with pytest.raises(ModelError, match=r"^expected a model with an operating point for --external, found none in"):
        external(file, scans(tmp_path, malignant=1))


def test_images_without_a_class_folder_are_reported(model: Path, tmp_path: Path) -> None:
    data = scans(tmp_path, malignant=2) / "Malignant cases"
    with pytest.raises(DataError) as caught:
        external(model, data)
    assert str(caught.value) == (
        f"expected images in class folders in '{data}', found none; lay them out as DATA/malignant/*.png, even if all "
        "are of one class"
    )
