"""Records of a stream: in order despite failures, lazily, and no leftover threads."""

import gc
import io
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.prediction.assertions import assert_same

from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction


def decoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ctonnx-worker")]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("bad", [{0}, {3}, {7}, {2, 3}, {0, 1, 2, 3}, set(range(8))], ids=str)
def test_order_is_kept_over_failures(
    predictor: Predictor, scans: list[str], no_image: Path, bad: set[int], batch_size: int
) -> None:
    images = [str(no_image) if place in bad else scan for place, scan in enumerate(scans)]
    found = list(predictor.predict_many(images, batch_size=batch_size))
    assert [record.source for record in found] == images
    for place, record in enumerate(found):
        if place in bad:
            assert record == Failure(str(no_image), "the file is empty (0 bytes)")
        else:
            assert_same(record, predictor.predict(scans[place]), tolerance=1e-6)


def test_each_kind_of_bad_source_has_a_failure(predictor: Predictor, tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(whole, "PNG")
    lazy = Image.open(io.BytesIO(whole.getvalue()[:1500]))
    images: list[Any] = [
        tmp_path,
        tmp_path / "none.png",
        b"",
        np.zeros((2, 2), np.float32),
        Image.new("L", (0, 3)),
        lazy,
        np.zeros((8, 8), np.uint8),
    ]
    *found, last = predictor.predict_many(images)
    assert found == [
        Failure(str(tmp_path), "a folder, not an image file"),
        Failure(str(tmp_path / "none.png"), "cannot be read: no such file"),
        Failure("bytes in memory", "the file is empty (0 bytes)"),
        Failure(
            "array",
            "expected a uint8 array of shape [height, width] or [height, width, 1, 3 or 4], found float32 [2, 2]",
        ),
        Failure("image in memory", "the image has no pixels: 0 x 3"),
        Failure("image in memory", "damaged image: image file is truncated"),
    ]
    assert isinstance(last, Prediction)


def test_images_may_be_a_generator_and_no_image_gives_no_record(predictor: Predictor, scans: list[str]) -> None:
    assert [record.source for record in predictor.predict_many(scan for scan in scans)] == scans
    assert list(predictor.predict_many([])) == []
    assert decoding_threads() == []


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_endless_stream_is_taken_a_bounded_number_of_batches_ahead(model: Path, batch_size: int) -> None:
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        for grey in itertools.cycle(range(256)):
            taken += 1
            yield np.full((8, 8), grey, np.uint8)

    with Predictor(model, workers=2) as predictor:
        records = predictor.predict_many(endless(), batch_size=batch_size)
        assert taken == 0
        for given in range(1, 8 * batch_size):
            next(records)
            assert taken <= given + 7 * batch_size  # three batches for each of two workers, and one handed out
        records.close()  # type: ignore[attr-defined]  # an Iterator by its promise, a generator in truth
    assert decoding_threads() == []


@pytest.mark.parametrize("seen", [0, 1, 3])
def test_abandoned_stream_leaves_no_thread(predictor: Predictor, scans: list[str], seen: int) -> None:
    records = predictor.predict_many(scans, batch_size=1)
    for _ in range(seen):
        next(records)
    assert bool(decoding_threads()) == (seen > 0)
    del records
    gc.collect()
    assert decoding_threads() == []


def test_error_of_the_callers_generator_reaches_the_caller_and_leaves_no_thread(
    predictor: Predictor, scans: list[str]
) -> None:
    def breaking() -> Iterator[str]:
        yield scans[0]
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match=r"^the caller's own$"):
        list(predictor.predict_many(breaking()))
    assert decoding_threads() == []


def test_two_streams_at_a_time_do_not_mix(predictor: Predictor, scans: list[str]) -> None:
    turned = scans[::-1]
    pairs = zip(predictor.predict_many(scans, batch_size=2), predictor.predict_many(turned, batch_size=3), strict=True)
    assert [(first.source, second.source) for first, second in pairs] == list(zip(scans, turned, strict=True))
