"""The predictor: the same outputs from every method and every kind of source."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.prediction.assertions import assert_same

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import ImageError
from ctonnx.images import load, to_pixels
from ctonnx.images.source import ImageSource
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction

# --- one prediction --------------------------------------------------------------------------------------------------


def test_prediction_has_every_class_in_descending_order(predictor: Predictor, scans: list[str]) -> None:
    prediction = predictor.predict(scans[0])
    assert prediction.source == scans[0]
    assert set(prediction.probabilities) == set(predictor.spec.classes)
    assert list(prediction.probabilities.values()) == sorted(prediction.probabilities.values(), reverse=True)
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert (prediction.label, prediction.probability) == next(iter(prediction.probabilities.items()))
    assert (prediction.logits.dtype.name, prediction.logits.shape) == ("float32", (4,))
    assert (prediction.heatmap.dtype.name, prediction.heatmap.shape) == ("float32", (4, 2, 2))
    assert prediction.heatmap.min() >= 0


def test_probabilities_are_the_softmax_of_the_scaled_logits_in_the_order_of_the_spec(
    predictor: Predictor, scans: list[str]
) -> None:
    prediction = predictor.predict(scans[0])
    scaled = np.exp(prediction.logits / predictor.spec.temperature)
    softmax = scaled / scaled.sum()
    found = [prediction.probabilities[name] for name in predictor.spec.classes]
    np.testing.assert_allclose(found, softmax, rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 99])
def test_top_gives_the_most_probable_classes(predictor: Predictor, scans: list[str], count: int) -> None:
    prediction = predictor.predict(scans[0])
    assert prediction.top(count) == list(prediction.probabilities.items())[:count]


def test_record_becomes_a_json_document(predictor: Predictor, scans: list[str]) -> None:
    prediction = predictor.predict(scans[0])
    assert json.loads(json.dumps(prediction.as_dict())) == {
        "file": scans[0],
        "label": prediction.label,
        "probability": prediction.probability,
        "decision": prediction.decision,
        "reason": prediction.reason,
        "suspicious": prediction.suspicious,
        "score": prediction.score,
        "set": list(prediction.prediction_set or ()),
        "probabilities": dict(prediction.probabilities),
        "novelty": prediction.novelty,
        "novelty_percentile": prediction.novelty_percentile,
        "unlike_training": prediction.is_novel,
        "frame": None,
        "caution": None,
        "error": None,
    }
    assert Failure("a.png", "damaged").as_dict() == {
        "file": "a.png",
        "label": None,
        "probability": None,
        "decision": None,
        "reason": None,
        "suspicious": None,
        "score": None,
        "set": None,
        "probabilities": {},
        "novelty": None,
        "novelty_percentile": None,
        "unlike_training": None,
        "frame": None,
        "caution": None,
        "error": "damaged",
    }


def test_image_that_cannot_be_read_is_an_error(predictor: Predictor, no_image: Path) -> None:
    with pytest.raises(ImageError) as caught:
        predictor.predict(no_image)
    assert str(caught.value) == f"{no_image}: the file is empty (0 bytes)"


# --- suspicious ------------------------------------------------------------------------------------------------------


def with_point(predictor: Predictor, threshold: float, *positive: str) -> ModelSpec:
    """Returns the predictor's spec with an operating point at a threshold, which alone decides."""
    point = OperatingPoint(positive=positive, threshold=threshold, sensitivity=1.0, specificity=1.0)
    return replace(predictor.spec, operating_point=point, prediction_sets=None, novelty=None)


def test_exported_model_calls_an_image_suspicious_by_its_operating_point(
    predictor: Predictor, scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = predictor.spec.operating_point
    assert point is not None
    assert point.positive == ("cavitating", "large central", "small peripheral")
    monkeypatch.setattr(predictor, "spec", with_point(predictor, point.threshold, *point.positive))
    for scan in scans:
        prediction = predictor.predict(scan)
        assert prediction.suspicious == (1 - prediction.probabilities["normal"] >= point.threshold)


@pytest.mark.parametrize("positive", [("cavitating",), ("normal",), ("small peripheral", "cavitating")])
def test_image_is_suspicious_from_the_threshold_on(
    predictor: Predictor, scans: list[str], positive: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    probabilities = predictor.predict(scans[0]).probabilities
    exact = sum(probabilities[name] for name in positive)
    for threshold, suspicious in [(0.0, True), (exact, True), (float(np.nextafter(exact, 1)), False), (1.0, False)]:
        monkeypatch.setattr(predictor, "spec", with_point(predictor, threshold, *positive))
        assert predictor.predict(scans[0]).suspicious is suspicious


def test_stream_gives_each_image_the_verdict_of_predict(
    predictor: Predictor, scans: list[str], no_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = sorted(predictor.predict(scan).probabilities["cavitating"] for scan in scans)
    monkeypatch.setattr(predictor, "spec", with_point(predictor, (scores[3] + scores[4]) / 2, "cavitating"))
    alone = [predictor.predict(scan).suspicious for scan in scans]
    assert sum(map(bool, alone)) == 4
    failed, *found = predictor.predict_many([str(no_image), *scans], batch_size=3)
    assert isinstance(failed, Failure)
    assert [record.suspicious for record in found if isinstance(record, Prediction)] == alone


def test_model_without_an_operating_point_calls_nothing_suspicious_or_not(
    predictor: Predictor, scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "spec", replace(predictor.spec, operating_point=None))
    assert predictor.predict(scans[0]).suspicious is None
    assert predictor.predict(scans[0]).as_dict()["suspicious"] is None


# --- by whatever road ------------------------------------------------------------------------------------------------


def test_predict_stream_and_pixels_have_the_same_outputs(predictor: Predictor, scans: list[str]) -> None:
    prediction = predictor.predict(scans[0])
    (streamed,) = predictor.predict_many([scans[0]])
    assert_same(streamed, prediction)
    outputs = predictor.predict_pixels(to_pixels(load(scans[0]), predictor.spec.preprocessing)[None])
    np.testing.assert_array_equal(outputs.logits[0], prediction.logits)
    np.testing.assert_array_equal(outputs.heatmap[0], prediction.heatmap)
    assert [prediction.probabilities[name] for name in predictor.spec.classes] == outputs.probabilities[0].tolist()


def test_pixels_have_the_same_outputs_from_the_sessions_own_threads(
    predictor: Predictor, model: Path, scans: list[str]
) -> None:
    pixels = np.stack([to_pixels(load(scan), predictor.spec.preprocessing) for scan in scans])
    expected = predictor.predict_pixels(pixels)
    with Predictor(model, threads=3) as several:
        batches = [several.submit_pixels(pixels) for _ in range(4)]
        here = several.predict_pixels(pixels)
        for found in (here, *[batch.result(30) for batch in batches]):
            np.testing.assert_array_equal(found.logits, expected.logits)
            np.testing.assert_array_equal(found.heatmap, expected.heatmap)


def test_predictor_is_closed_after_its_threads_have_finished(model: Path) -> None:
    with Predictor(model, threads=2) as predictor:
        predictions = [predictor.submit_pixels(np.zeros((4, 64, 64, 3), np.uint8)) for _ in range(3)]
    assert all(prediction.done() for prediction in predictions)
    with pytest.raises(ValueError, match="this Predictor is closed"):
        predictor.submit_pixels(np.zeros((1, 64, 64, 3), np.uint8))


@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (2, 2)])
def test_submit_without_threads_of_the_session_is_rejected(model: Path, threads: int, workers: int) -> None:
    with Predictor(model, threads=threads, workers=workers) as predictor, pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared below
        predictor.submit_pixels(np.zeros((1, 64, 64, 3), np.uint8))
    assert str(caught.value) == (
        f"expected a session on cpu with more threads than workers, found {threads} and {workers} on cpu: it has no "
        "thread of its own to compute a batch"
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 6, 7, 8, 9, 100])
def test_batch_size_changes_no_prediction(predictor: Predictor, scans: list[str], batch_size: int) -> None:
    alone = [predictor.predict(scan) for scan in scans]
    together = list(predictor.predict_many(scans, batch_size=batch_size))
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected, tolerance=1e-6)


def test_each_kind_of_source_has_the_same_prediction_under_its_own_name(predictor: Predictor, scans: list[str]) -> None:
    file = Path(scans[0])
    with Image.open(file) as image:
        named, unnamed = image.copy(), Image.fromarray(np.asarray(image))
        sources: list[ImageSource] = [str(file), file, file.read_bytes(), image, unnamed, np.asarray(image)]
        found = list(predictor.predict_many(sources))
    assert [record.source for record in found] == [
        str(file),
        str(file),
        "bytes in memory",
        str(file),
        "image in memory",
        "array",
    ]
    assert predictor.predict(named).source == "image in memory"
    logits = np.stack([record.logits for record in found if isinstance(record, Prediction)])
    assert len(logits) == 6
    np.testing.assert_allclose(logits, np.broadcast_to(logits[0], logits.shape), rtol=0, atol=1e-6)


def test_predictions_differ_between_images(predictor: Predictor, scans: list[str]) -> None:
    logits = {record.logits.tobytes() for record in predictor.predict_many(scans) if isinstance(record, Prediction)}
    assert len(logits) == len(scans)


def test_model_is_found_by_its_run_and_without_a_name(workspace: Path) -> None:
    for model in (None, "tiny", Path("runs/tiny")):
        with Predictor(model) as opened:
            assert repr(opened) == "Predictor('runs/tiny/export/model.fp32.onnx', provider='cpu')"
            assert opened.path == Path("runs/tiny/export/model.fp32.onnx")


# --- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3])
def test_pixels_give_a_row_for_each_image(predictor: Predictor, count: int) -> None:
    outputs = predictor.predict_pixels(np.zeros((count, 64, 64, 3), np.uint8))
    assert outputs.probabilities.shape == outputs.logits.shape == (count, 4)
    assert outputs.heatmap.shape == (count, 4, 2, 2)


def test_view_of_pixels_has_the_outputs_of_its_copy(predictor: Predictor) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    for view in (pixels[:, ::-1], np.asfortranarray(pixels)):
        np.testing.assert_array_equal(
            predictor.predict_pixels(view).logits, predictor.predict_pixels(np.ascontiguousarray(view)).logits
        )


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.zeros((1, 64, 64, 3), np.float32), "float32 [1, 64, 64, 3]"),
        (np.zeros((1, 64, 64, 3), np.int8), "int8 [1, 64, 64, 3]"),
        (np.zeros((64, 64, 3), np.uint8), "uint8 [64, 64, 3]"),
        (np.zeros((1, 3, 64, 64), np.uint8), "uint8 [1, 3, 64, 64]"),
        (np.zeros((1, 64, 64, 1), np.uint8), "uint8 [1, 64, 64, 1]"),
        (np.zeros((1, 224, 224, 3), np.uint8), "uint8 [1, 224, 224, 3]"),
        (np.zeros((1, 1, 64, 64, 3), np.uint8), "uint8 [1, 1, 64, 64, 3]"),
    ],
)
def test_pixels_of_another_kind_are_rejected(predictor: Predictor, pixels: NDArray[Any], found: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared below
        predictor.predict_pixels(pixels)
    assert str(caught.value) == f"expected uint8 pixels of shape [batch, 64, 64, 3], found {found}"


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_below_one_is_rejected_at_once(predictor: Predictor, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"^expected a batch size of at least 1, found {batch_size}$"):
        predictor.predict_many([], batch_size=batch_size)
