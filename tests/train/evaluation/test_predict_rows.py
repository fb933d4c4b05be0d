"""The outputs of an exported model for many scans."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.train.grey_models import outputs_of, write_model, write_scans

from ctonnx.errors import ProviderError
from ctonnx.images import Preprocessing
from ctonnx.prediction.predictor import Predictor
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.evaluated_model import predict_rows, rgb_pixels


@pytest.fixture
def store(tmp_path: Path) -> PixelStore:
    data = write_scans(tmp_path / "scans", {"tumor": 40})
    samples = [Sample(f"tumor/{number}.png", 0) for number in range(40)]
    return PixelStore(open_source(data), samples, Preprocessing(size=32))


def test_rows_are_predicted_in_their_order(store: PixelStore, tmp_path: Path) -> None:
    rows = list(range(39, 0, -1))
    with Predictor(write_model(tmp_path / "model.onnx")) as predictor:
        outputs = predict_rows(predictor, store, rows)
    pixels = rgb_pixels(store, rows)
    assert pixels.shape == (39, 32, 32, 3)
    np.testing.assert_allclose(outputs.logits, outputs_of(pixels).logits, atol=1e-4)


def test_outputs_that_are_not_finite_are_an_error(store: PixelStore, tmp_path: Path) -> None:
    file = write_model(tmp_path / "model.onnx", golden=False)
    model = onnx.load(file)
    (bias,) = (weight for weight in model.graph.initializer if weight.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([np.inf, 0, 0], np.float32), "head.bias"))
    onnx.save(model, file)
    with (
        Predictor(file, check=False) as predictor,
        pytest.raises(
            ProviderError,
            match=r"^expected finite outputs of '.*', found others; compare it with PyTorch: ctonnx verify",
        ),
    ):
        predict_rows(predictor, store, [0, 1])
