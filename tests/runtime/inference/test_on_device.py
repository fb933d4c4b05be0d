"""Models on a real device, by `make gpu`: the same outputs as on the CPU, for any batch and from any thread."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from tests.runtime.inference.test_session_providers import Build, Session

from ctonnx.artifacts.golden import load_golden
from ctonnx.inference.cuda import CudaSettings, cuda_settings
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.inference.session import open_session
from ctonnx.parity.acceptance_gates import DEVICE_GATES
from ctonnx.parity.comparison import compare
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction

pytestmark = pytest.mark.gpu

GATE = DEVICE_GATES["fp32"]


@pytest.fixture
def provider(device: str) -> Provider:
    return cast("Provider", device)


def test_golden_inputs_are_replayed(model: Path, provider: Provider) -> None:
    assert verify(model, provider=provider).failures == ()


def test_batches_of_changing_sizes_have_the_outputs_of_the_cpu(model: Path, provider: Provider) -> None:
    pixels = load_golden(model.parent / "golden.npz").pixels
    with Predictor(model) as on_cpu, Predictor(model, provider=provider) as predictor:
        assert predictor.session.get_providers()[0] == PROVIDERS[provider].execution_provider
        for size in (2, 5, 1, 8, 3):
            expected, found = (one.predict_pixels(pixels[:size]) for one in (on_cpu, predictor))
            assert GATE.failures(compare(expected, found)) == ()


def test_threads_that_share_a_predictor_get_their_own_outputs(model: Path, provider: Provider) -> None:
    pixels = load_golden(model.parent / "golden.npz").pixels
    with Predictor(model, provider=provider) as predictor, ThreadPoolExecutor(4) as pool:
        expected = [predictor.predict_pixels(pixels[row : row + 1]).probabilities for row in range(len(pixels))]
        again = [row % len(pixels) for row in range(64)]
        found = pool.map(lambda row: predictor.predict_pixels(pixels[row : row + 1]).probabilities, again)
        for row, probabilities in zip(again, found, strict=True):
            np.testing.assert_allclose(probabilities, expected[row], atol=GATE.max_dp)


def test_files_are_predicted_in_order_with_the_labels_of_the_cpu(
    model: Path, phantoms: Path, provider: Provider
) -> None:
    files = sorted(phantoms.rglob("*.png"))
    with Predictor(model) as on_cpu, Predictor(model, provider=provider) as predictor:
        expected, found = (list(one.predict_many(files, batch_size=5)) for one in (on_cpu, predictor))
    assert len(found) == len(files)
    for one, other in zip(expected, found, strict=True):
        assert isinstance(one, Prediction)
        assert isinstance(other, Prediction)
        assert (other.label, other.decision) == (one.label, one.decision)
        assert other.probability == pytest.approx(one.probability, abs=GATE.max_dp)


@pytest.mark.parametrize("settings", [CudaSettings(search="exhaustive"), CudaSettings(nhwc=True)], ids=str)
def test_settings_of_cuda_reach_onnxruntime_and_change_no_output(
    model: Path, provider: Provider, settings: CudaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another device, only that the options are given to onnxruntime, by a fake build with CUDA."""
    if provider != "cuda":
        build = Build(monkeypatch, Session("CUDAExecutionProvider"))
        with cuda_settings(settings):
            open_session(model, provider="cuda")
        assert build.given[1] == [("CUDAExecutionProvider", settings.options())]
        assert settings.options() != CudaSettings().options()
        return
    pixels = load_golden(model.parent / "golden.npz").pixels
    with Predictor(model, provider=provider) as predictor:
        expected = predictor.predict_pixels(pixels)
    with cuda_settings(settings), Predictor(model, provider=provider) as predictor:
        found = predictor.session.get_provider_options()["CUDAExecutionProvider"]
        assert {name: found.get(name) for name in settings.options()} == settings.options()
        assert GATE.failures(compare(expected, predictor.predict_pixels(pixels))) == ()


def test_session_has_its_provider_alone_with_its_options(
    model: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, given = onnxruntime.InferenceSession, list[Any]()

    def start(file: Any, options: Any, providers: Any, **others: Any) -> Any:
        given.append((providers, others))
        return real(file, options, providers, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    found = open_session(model, provider=provider).get_provider_options()
    name, expected = PROVIDERS[provider].execution_provider, CudaSettings().options() if provider == "cuda" else {}
    assert given == [([(name, expected)], {"enable_fallback": 0})]
    assert next(iter(found)) == name
    assert {option: found[name].get(option) for option in expected} == expected
