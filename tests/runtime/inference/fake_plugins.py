"""Plugins of onnxruntime that are only a module on disk and a list of devices."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from ctonnx.inference import diagnosis, plugins, self_test
from ctonnx.inference.providers import PROVIDERS, Provider
from ctonnx.system.cpu import Processor

__all__ = ["FakePlugins", "device", "fake_plugins"]


def device(name: str, kind: str, vendor: str, *, virtual: bool = False, built_in: bool = False) -> Any:
    """Returns an object with the attributes of an `onnxruntime.OrtEpDevice`."""
    hardware = SimpleNamespace(
        type=SimpleNamespace(name=kind), vendor=vendor, metadata={"is_virtual": "1"} if virtual else {}
    )
    return SimpleNamespace(
        ep_name=name, ep_metadata={} if built_in else {"library_path": "/lib/plugin.so"}, device=hardware
    )


class FakePlugins:
    """An onnxruntime that lists the given devices of a plugin once it is registered."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.registered: list[tuple[str, str]] = []
        self.devices: dict[str, list[Any]] = {}
        self.listed: list[Any] = []
        self.error: Exception | None = None
        self.available = ["AzureExecutionProvider", "CPUExecutionProvider"]
        self.modules: list[str] = []
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(plugins._REGISTRY, "names", set())
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: self.available)
        monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: self.listed)
        monkeypatch.setattr(onnxruntime, "register_execution_provider_library", self.register)
        self.machine("AMD EPYC")

    def machine(self, model: str, architecture: str = "x86", system: str = "linux") -> None:
        """Simulates a processor and a system."""
        self.monkeypatch.setattr(sys, "platform", system)
        self.monkeypatch.setattr(diagnosis, "processor", lambda: Processor(model, frozenset()))
        self.monkeypatch.setattr(diagnosis, "architecture", lambda: architecture)
        self.monkeypatch.setattr(self_test, "architecture", lambda: architecture)
        self.monkeypatch.setattr(diagnosis, "installed_builds", lambda: {"onnxruntime": "1.31.1"})

    def install(self, provider: Provider, *devices: tuple[str, str], version: str = "1.8.1", body: str = "") -> None:
        """Installs a provider's plugin, which has devices of the given kinds and vendors."""
        facts = PROVIDERS[provider]
        assert facts.plugin is not None
        module, name = facts.plugin.module, facts.plugin.distribution
        function = "library_path" if provider == "mlx" else "get_library_path"
        (self.folder / module).mkdir()
        (self.folder / module / "__init__.py").write_text(body or f'def {function}():\n    return "/lib/{module}.so"\n')
        record = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (record / "RECORD").write_text(f"{module}/__init__.py,,\n")
        self.modules.append(module)
        self.devices[facts.execution_provider] = [device(facts.execution_provider, *found) for found in devices]
        self.monkeypatch.setattr(sys, "path", [*sys.path, f"after-{name}"])  # results are cached by path

    def register(self, name: str, path: str) -> None:
        """Replaces onnxruntime's function."""
        self.registered.append((name, path))
        if self.error:
            raise self.error
        self.listed = [*self.listed, *self.devices[name]]


@pytest.fixture
def fake_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlugins]:
    """A machine with Linux, an AMD processor and no plugin."""
    folder = tmp_path / "packages"
    folder.mkdir()
    fake = FakePlugins(folder, monkeypatch)
    yield fake
    for module in fake.modules:
        sys.modules.pop(module, None)
