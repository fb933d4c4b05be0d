"""Providers that `--provider auto` compares: those that are installed, each with the reason why it cannot run."""

import onnxruntime
import pytest
from tests.runtime.inference.fake_plugins import FakePlugins, fake_plugins

from ctonnx.inference import diagnosis
from ctonnx.prediction.device.candidates import installed_providers, short_reason

__all__ = ["fake_plugins"]


def test_only_what_is_installed_is_listed(fake_plugins: FakePlugins) -> None:
    assert installed_providers() == {"cpu": None}


def test_plugin_with_a_device_is_listed_by_its_devices(fake_plugins: FakePlugins) -> None:
    fake_plugins.machine("Intel Core i5")
    fake_plugins.install("openvino", ("CPU", "Intel"), ("GPU", "Intel"))
    assert installed_providers() == {"cpu": None, "openvino": None, "openvino:gpu": None}


def test_plugin_without_a_device_is_listed_once_with_its_reason(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino")
    found = installed_providers()
    assert list(found) == ["cpu", "openvino"]
    assert short_reason(str(found["openvino"])) == (
        "its plugin onnxruntime-ep-openvino 1.8.1 needs an Intel processor, and this one is AMD EPYC"
    )


def test_plugin_that_does_not_load_is_listed_with_its_reason(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino", ("CPU", "Intel"))
    fake_plugins.error = RuntimeError("libtbb.so.12: cannot open shared object file: No such file or directory")
    found = installed_providers()
    assert list(found) == ["cpu", "openvino"]
    assert "needs the library libtbb.so.12, which was not found" in str(found["openvino"])


def test_library_that_cannot_run_here_is_not_loaded(fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins.install("tensorrt-rtx", ("GPU", "NVIDIA"))
    monkeypatch.setattr(diagnosis, "nvidia_driver", lambda: None)
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: False)
    found = installed_providers()
    assert list(found) == ["cpu", "tensorrt-rtx"]
    assert "this machine has no NVIDIA GPU" in str(found["tensorrt-rtx"])
    assert not fake_plugins.registered


def test_provider_of_the_build_is_listed_with_its_reason(
    fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "nvidia_driver", lambda: None)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: False)
    assert short_reason(str(installed_providers()["cuda"])).endswith("this machine has no NVIDIA GPU")
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: True)  # a container without --gpus: tried
    assert installed_providers() == {"cpu": None, "cuda": None}
