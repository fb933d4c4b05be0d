"""A session on a plugin's device: the device runs every convolution, or the provider is rejected."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tests.runtime.inference.fake_plugins import FakePlugins, fake_plugins

from ctonnx.errors import ModelError, ProviderError
from ctonnx.inference import providers, session
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.inference.self_test import check_provider
from ctonnx.inference.session import open_session, read_spec
from ctonnx.prediction.predictor import Predictor

__all__ = ["fake_plugins"]

CPU = "CPUExecutionProvider"
REAL_DEVICES = onnxruntime.get_ep_devices


@pytest.fixture
def onnxruntimes_own_device(fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch) -> FakePlugins:
    """Gives the plugins of QNN and WebGPU the device of onnxruntime's own CPU provider."""
    (own,) = (item for item in REAL_DEVICES() if item.ep_name == CPU)
    for name in ("qnn", "webgpu"):
        facts = PROVIDERS[name]
        assert facts.plugin is not None
        fake_plugins.install(name)
        changed = replace(facts, execution_provider=CPU, plugin=replace(facts.plugin, device="CPU"))
        monkeypatch.setitem(providers.PROVIDERS, name, changed)
    fake_plugins.devices = {CPU: [own]}
    fake_plugins.available = []
    return fake_plugins


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts convolutions on the CPU, where the device of the tests is."""
    monkeypatch.setattr(session, "_check_convolutions", lambda session, provider: None)


@pytest.mark.usefixtures("onnxruntimes_own_device")
def test_convolutions_of_a_plugins_session_are_counted(model: Path) -> None:
    with pytest.raises(ProviderError) as caught:
        open_session(model, provider="webgpu")
    assert str(caught.value).startswith("the provider 'webgpu' started, and left ")
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("uncounted")
def test_session_runs_on_the_plugins_device(model: Path, onnxruntimes_own_device: FakePlugins) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    with Predictor(model, provider="webgpu") as predictor, Predictor(model, provider="webgpu", threads=1) as second:
        found = predictor.predict_pixels(pixels)
        assert predictor.session.get_providers() == [CPU]
        assert second.provider == "webgpu"
    assert onnxruntimes_own_device.registered == [(CPU, "/lib/onnxruntime_ep_webgpu.so")]
    onnxruntimes_own_device.available = [CPU]
    with Predictor(model) as plain:
        np.testing.assert_allclose(found.logits, plain.predict_pixels(pixels).logits, atol=1e-5)


@pytest.mark.usefixtures("uncounted")
def test_provider_of_one_image_a_run_computes_a_batch(model: Path, onnxruntimes_own_device: FakePlugins) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    with Predictor(model, provider="qnn") as predictor:
        assert predictor.session.get_inputs()[0].shape == [1, 64, 64, 3]
        found = [predictor.predict_pixels(pixels), predictor.predict_pixels(pixels[:1])]
    onnxruntimes_own_device.available = [CPU]
    with Predictor(model) as plain:
        for outputs, images in zip(found, (pixels, pixels[:1]), strict=True):
            np.testing.assert_allclose(outputs.heatmap, plain.predict_pixels(images).heatmap, atol=1e-5)
            np.testing.assert_allclose(outputs.logits, plain.predict_pixels(images).logits, atol=1e-5)


@pytest.mark.usefixtures("uncounted", "onnxruntimes_own_device")
def test_fixed_batch_is_an_error_of_the_file_for_any_other_provider(model: Path) -> None:
    made = open_session(model, provider="qnn")
    read_spec(made, "model", one_image_a_run=True)
    with pytest.raises(ModelError, match="export the model again"):
        read_spec(made, "model")


@pytest.mark.usefixtures("uncounted", "onnxruntimes_own_device")
@pytest.mark.parametrize("provider", ["qnn", "webgpu"])
def test_self_test_runs_on_the_plugins_device(provider: Provider) -> None:
    assert check_provider(provider).state == "works"


def test_plugin_gets_its_options(model: Path, fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
            given.append((devices, options))

    fake_plugins.install("openvino", ("CPU", "Intel"))
    monkeypatch.setattr(session, "SessionOptions", Options)
    with pytest.raises(ProviderError):  # as no provider was added
        open_session(model, provider="openvino", threads=2)
    assert given == [
        (
            fake_plugins.listed,
            {"load_config": '{"CPU": {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": "2"}}'},
        )
    ]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("openvino", "its plugin onnxruntime-ep-openvino 1.8.1 needs an Intel processor, and this one is AMD EPYC"),
        ("openvino:npu", "its plugin onnxruntime-ep-openvino 1.8.1 needs an Intel NPU, and onnxruntime found none"),
        ("qnn", 'its plugin onnxruntime-qnn is not installed; pip install "ctonnx[qnn]"'),
        ("mlx", "is for macOS, and this is Linux"),
        ("coreml", "is for macOS, and this is Linux"),
    ],
)
def test_provider_without_a_device_is_rejected(
    provider: Provider, expected: str, model: Path, fake_plugins: FakePlugins
) -> None:
    fake_plugins.install("openvino")
    with pytest.raises(ProviderError) as caught:
        open_session(model, provider=provider)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_no_library_is_loaded_for_another_machine(model: Path, fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino", ("CPU", "Intel"))
    fake_plugins.machine("Cortex", "arm")
    with pytest.raises(ProviderError, match="is for x86 processors, and this one is ARM"):
        open_session(model, provider="openvino")
    assert fake_plugins.registered == []
