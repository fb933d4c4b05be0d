"""`stress_test`: each scan is decoded once, changed in every way, and the changed decisions are counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.train.stress.made import CLASSES, NOVELTY, by_brightness, evaluated_model

from ctonnx.images import load
from ctonnx.images.scan import Scan
from ctonnx.system.files import sha256_of
from ctonnx_train.data.sources import FolderSource
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.evaluate import Evaluation
from ctonnx_train.stress import stress_test as module
from ctonnx_train.stress.stress_test import stress_test
from ctonnx_train.stress.transforms import TRANSFORMS

BY_NAME = {transform.name: transform for transform in TRANSFORMS}


@pytest.fixture
def evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    """Forty scans, more than a batch: those of even numbers are dark and normal, the others bright tumors."""
    monkeypatch.chdir(tmp_path)
    Path("made.onnx").write_bytes(b"a model")
    samples = []
    for number in range(40):
        level = 60 if number % 2 == 0 else 190
        Image.new("L", (50, 40), level).save(tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as image:
            image.putpixel((25, 20), 128)  # not blank
            image.save(tmp_path / f"{number}.png")
        samples.append(Sample(f"{number}.png", number % 2))
    return Evaluation(
        document={"data": {"name": "scans", "fingerprint": "cd", "split": "test"}},
        probabilities=np.empty((0, 3)),
        labels=np.array([sample.label for sample in samples]),
        source=FolderSource(tmp_path),
        samples=tuple(samples),
    )


def found(evaluation: Evaluation, *names: str, **parts: Any) -> dict[str, dict[str, Any]]:
    result = stress_test(evaluated_model(**parts), evaluation, transforms=[BY_NAME[name] for name in names])
    return {one["name"]: one for one in result["transforms"]}


def test_decisions_change_where_the_change_moves_the_score_over_the_threshold(evaluation: Evaluation) -> None:
    changes = found(evaluation, "brighter", "darker", "mirrored", "inverted")
    flipped = {name: [of["flipped"]["count"] for of in one["strengths"]] for name, one in changes.items()}
    # 60 x 1.8 is below the middle; 190 x 0.6 falls below it.
    assert flipped == {"brighter": [0, 0, 0], "darker": [0, 20, 20], "mirrored": [0], "inverted": [40]}
    assert [one["judged_by"] for one in changes.values()] == ["decision_changed"] * 3 + ["flipped"]
    middle = changes["darker"]["strengths"][1]
    assert middle["flipped"]["to_negative"] == 20
    assert middle["by_class"]["tumor"]["flipped"]["share"] == 1.0
    assert middle["by_class"]["normal"]["flipped"]["share"] == 0.0
    assert (middle["strength"], middle["shown"], middle["images"]) == (0.6, "x 0.6", 40)


def test_the_document_names_the_model_the_images_and_what_decides(evaluation: Evaluation) -> None:
    lines: list[str] = []
    result = stress_test(evaluated_model(), evaluation, transforms=TRANSFORMS[:2], log=lines.append)
    assert lines == ["stress test: 2 changes in 6 strengths, 40 scans"]
    del result["transforms"]
    assert result == {
        "schema_version": 1,
        "checkpoint_sha256": "ab" * 32,
        "model": {
            "file": "made.onnx",
            "kind": "ONNX fp32",
            "precision": "unknown",
            "sha256": sha256_of(b"a model"),
        },
        "data": {"name": "scans", "fingerprint": "cd"},
        "split": "test",
        "images": 40,
        "decided_by": {"operating_point": True, "prediction_sets": False, "novelty": False},
        "decisions": {"positive": 20, "negative": 20, "refer": 0},
    }


def test_novelty_refers_what_would_have_flipped(evaluation: Evaluation) -> None:
    def novel(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        level = pixels.mean((1, 2, 3))
        return by_brightness(pixels)[0], np.where(np.abs(level - 114) < 20, 999, 1).astype(np.float32)

    changes = found(evaluation, "darker", predict_pixels=novel, novelty_threshold=NOVELTY)
    middle = changes["darker"]["strengths"][1]
    assert (middle["flipped"]["count"], middle["newly_referred"]["count"]) == (0, 20)
    assert (middle["decision_changed"]["share"], middle["newly_referred"]["share"]) == (0.5, 0.5)


def test_a_scan_that_a_change_makes_blank_is_referred(evaluation: Evaluation) -> None:
    changes = found(evaluation, "blurred", operating_point=evaluated_model().operating_point)
    assert changes["blurred"]["strengths"][2]["flipped"]["count"] == 0


def test_each_scan_is_decoded_once(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def noting(path: Path) -> Scan:
        loaded.append(path.name)
        return load(path)

    monkeypatch.setattr(module, "load", noting)
    stress_test(evaluated_model(), evaluation, transforms=TRANSFORMS[:3])
    assert sorted(loaded) == sorted(sample.path for sample in evaluation.samples)


def test_all_changes_are_made_without_a_choice(evaluation: Evaluation) -> None:
    result = stress_test(evaluated_model(), evaluation)
    assert [one["title"] for one in result["transforms"]] == [one.title for one in TRANSFORMS]
    assert set(result["transforms"][0]["strengths"][0]["by_class"]) < set(CLASSES)


def test_without_an_operating_point_there_are_no_decisions(evaluation: Evaluation) -> None:
    result = stress_test(evaluated_model(operating_point=None), evaluation, transforms=TRANSFORMS[:1])
    assert result["decisions"] is None
    assert "flipped" not in result["transforms"][0]["strengths"][0]


def test_an_evaluation_without_its_images_is_rejected() -> None:
    empty = Evaluation(document={}, probabilities=np.empty((0, 3)), labels=np.empty(0, np.int64))
    with pytest.raises(ValueError, match="expected an evaluation with its images"):
        stress_test(evaluated_model(), empty)
