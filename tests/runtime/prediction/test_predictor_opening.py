"""Opening and closing a `Predictor`, and invalid arguments."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.errors import ProviderError
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction


def test_predictor_is_closed_at_the_end_of_its_block(model: Path) -> None:
    with Predictor(model, threads=1) as opened:
        assert opened.predict(np.zeros((8, 8), np.uint8)).label in opened.spec.classes
    with pytest.raises(ValueError, match=r"^this Predictor is closed; make a new one$"):
        opened.predict(np.zeros((8, 8), np.uint8))


def test_predictor_may_be_closed_twice(model: Path) -> None:
    with Predictor(model, threads=1) as opened:
        opened.close()
    opened.close()


@pytest.mark.parametrize("given", [None, "tiny", "runs/tiny/export/model.fp32.onnx"])
def test_provider_that_does_not_exist_is_rejected_however_the_model_is_named(
    given: str | None, workspace: Path
) -> None:
    provider: Any = "tpu"
    with pytest.raises(ProviderError, match=r"^expected a provider of cpu, cuda, tensorrt, .*, found 'tpu'$"):
        Predictor(given, provider=provider, fallback=True)


def test_fewer_threads_than_one_are_rejected(model: Path) -> None:
    with pytest.raises(ValueError, match=r"^expected at least 1 thread, found 0$"):
        Predictor(model, threads=0)


@pytest.mark.parametrize("one", ["scan.png", b"\x89PNG", Path("scan.png")])
def test_one_image_is_not_accepted_as_many(one: Any, model: Path) -> None:
    with pytest.raises(TypeError, match=r"^expected several images, found one: .*; put it in a list, or call predict$"):
        Predictor(model, threads=1).predict_many(one)


def test_outputs_that_are_not_finite_are_a_failure(
    model: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = next(phantoms.glob("*/*/*.png"))
    with Predictor(model) as predictor:
        outputs = predictor.predict_pixels(np.zeros((2, 64, 64, 3), np.uint8))
        outputs.probabilities[1] = np.nan
        monkeypatch.setattr(predictor, "_runner", lambda pixels: outputs)
        good, bad = predictor.predict_many([scan, scan])
        assert isinstance(good, Prediction)
        assert isinstance(bad, Failure)
        assert bad.error.startswith(
            "the model's outputs on cpu are not finite, as if values exceed the range of FP16; to compare "
        )
        monkeypatch.setattr(predictor, "_runner", lambda pixels: outputs[1:])
        with pytest.raises(ProviderError, match="are not finite"):
            predictor.predict(scan)


def test_stream_ends_if_its_predictor_is_closed(model: Path) -> None:
    with Predictor(model, threads=1) as opened:
        records = opened.predict_many([np.zeros((8, 8), np.uint8)] * 3)
        next(records)
    with pytest.raises(ValueError, match=r"^this Predictor is closed; make a new one$"):
        next(records)
    assert list(records) == []


@pytest.mark.parametrize("wrong", [None, 3, ["scan.png"]])
def test_object_that_is_not_an_image_is_rejected_with_what_was_expected(wrong: Any, model: Path) -> None:
    message = rf"^expected a path, a file's bytes, a Pillow image or a uint8 array, found {type(wrong).__name__}$"
    with Predictor(model, threads=1) as opened:
        with pytest.raises(TypeError, match=message):
            opened.predict(wrong)
        with pytest.raises(TypeError, match=message):
            list(opened.predict_many([wrong]))
