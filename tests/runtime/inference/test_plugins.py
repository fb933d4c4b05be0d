"""A plugin is registered once in a process, and its device of the requested kind is found."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import onnxruntime
import pytest
from tests.runtime.inference.fake_plugins import FakePlugins, device, fake_plugins

from ctonnx.inference import plugins
from ctonnx.inference.plugins import find_device, is_built_in, plugin_name
from ctonnx.inference.providers import PROVIDERS, Provider

__all__ = ["fake_plugins"]

OPENVINO = "OpenVINOExecutionProvider"
LIBRARY = "/lib/onnxruntime_ep_openvino.so"


# --- the device ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("provider", "kind"), [("openvino", "CPU"), ("openvino:gpu", "GPU"), ("openvino:npu", "NPU")])
def test_device_is_the_first_of_the_providers_kind(provider: Provider, kind: str, fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino", ("CPU", "Intel"), ("GPU", "Intel"), ("GPU", "Intel"), ("NPU", "Intel"))
    search = find_device(provider, onnxruntime)
    assert search.state == "found"
    assert search.device is next(item for item in fake_plugins.listed if item.device.type.name == kind)
    assert search.devices == ("CPU of Intel", "GPU of Intel", "GPU of Intel", "NPU of Intel")


def test_devices_of_other_providers_and_virtual_ones_are_not_taken(fake_plugins: FakePlugins) -> None:
    """A virtual device compiles a model for a machine that it does not have."""
    fake_plugins.install("openvino")
    fake_plugins.devices[OPENVINO] = [device(OPENVINO, "NPU", "Intel", virtual=True)]
    fake_plugins.listed = [device("CPUExecutionProvider", "NPU", "AMD", built_in=True)]
    search = find_device("openvino:npu", onnxruntime)
    assert (search.state, search.device, search.devices) == ("no device", None, ())


@pytest.mark.parametrize("provider", [name for name, facts in PROVIDERS.items() if facts.plugin])
def test_every_plugin_is_found_by_its_module(provider: Provider, fake_plugins: FakePlugins) -> None:
    plugin = PROVIDERS[provider].plugin
    assert plugin is not None
    assert find_device(provider, onnxruntime).state == "not installed"
    fake_plugins.install(provider, (plugin.device, "its vendor"))
    assert find_device(provider, onnxruntime).state == "found"
    assert fake_plugins.registered == [(PROVIDERS[provider].execution_provider, f"/lib/{plugin.module}.so")]
    assert plugin_name(plugin) == f"{plugin.distribution} 1.8.1"


def test_plugin_of_another_package_has_that_packages_name(fake_plugins: FakePlugins) -> None:
    """NVIDIA has a package for each CUDA, with the same module."""
    plugin = PROVIDERS["tensorrt-rtx"].plugin
    assert plugin is not None
    fake_plugins.install("tensorrt-rtx")
    (folder,) = fake_plugins.folder.glob("*.dist-info")
    text = (folder / "METADATA").read_text().replace("cu13", "cu12")
    (folder / "METADATA").write_text(text)
    assert plugin_name(plugin) == "onnxruntime-ep-nv-tensorrt-rtx-cu12 1.8.1"


# --- faults ----------------------------------------------------------------------------------------------------------


def test_old_onnxruntime_is_reported_before_the_plugin_is_loaded(
    fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Release 1.23 takes plugins, and does not report which provider runs a convolution."""
    fake_plugins.install("openvino", ("CPU", "Intel"))
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    assert find_device("openvino", onnxruntime).state == "old onnxruntime"
    assert fake_plugins.registered == []
    monkeypatch.setattr(onnxruntime, "__version__", "1.24.0")
    assert find_device("openvino", onnxruntime).state == "found"


def test_library_that_does_not_load_is_reported_and_tried_again(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("webgpu", ("GPU", "AMD"))
    fake_plugins.error = RuntimeError("Failed to load library")
    search = find_device("webgpu", onnxruntime)
    assert (search.state, search.error) == ("does not load", "Failed to load library")
    fake_plugins.error = None
    assert find_device("webgpu", onnxruntime).state == "found"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise ImportError('no symbol')", "no symbol"),
        ("def get_library_path():\n    raise FileNotFoundError", "FileNotFoundError"),
        ("", "module 'onnxruntime_ep_webgpu' has no attribute 'library_path'"),
    ],
)
def test_module_without_a_library_is_reported(body: str, error: str, fake_plugins: FakePlugins) -> None:
    fake_plugins.install("webgpu", body=body or "pass")
    search = find_device("webgpu", onnxruntime)
    assert (search.state, search.error) == ("does not load", error)


def test_log_of_onnxruntime_is_off_only_during_the_registration(
    fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Any] = []
    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", events.append)
    fake_plugins.install("webgpu")
    fake_plugins.error = RuntimeError("no")
    find_device("webgpu", onnxruntime)
    assert events == [4, 2]


# --- one registration ------------------------------------------------------------------------------------------------


def test_plugin_is_registered_once_for_all_its_providers(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino", ("CPU", "Intel"), ("GPU", "Intel"))
    for provider in ("openvino", "openvino:gpu", "openvino:npu", "openvino"):
        find_device(provider, onnxruntime)
    assert fake_plugins.registered == [(OPENVINO, LIBRARY)]


def test_plugin_without_a_device_is_registered_once(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino")
    assert {find_device("openvino", onnxruntime).state for _ in range(3)} == {"no device"}
    assert len(fake_plugins.registered) == 1


def test_threads_register_a_plugin_once(fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins.install("openvino", ("CPU", "Intel"))

    second = Event()

    def register(name: str, path: str) -> None:
        fake_plugins.registered.append((name, path))
        if len(fake_plugins.registered) > 1:
            second.set()
        second.wait(0.05)  # time for another thread to come as far as this one
        fake_plugins.listed = fake_plugins.devices[name]

    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", register)
    with ThreadPoolExecutor(8) as pool:
        states = {found.state for found in pool.map(lambda _: find_device("openvino", onnxruntime), range(8))}
    assert states == {"found"}
    assert len(fake_plugins.registered) == 1


def test_plugin_that_the_program_registered_itself_is_used(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino", ("CPU", "Intel"))
    fake_plugins.listed = [device(OPENVINO, "CPU", "Intel")]
    assert find_device("openvino", onnxruntime).device is fake_plugins.listed[0]
    assert fake_plugins.registered == []


def test_name_that_the_program_registered_without_a_device_is_no_fault(fake_plugins: FakePlugins) -> None:
    fake_plugins.install("openvino")
    fake_plugins.error = RuntimeError("EP library is already registered under OpenVINOExecutionProvider")
    assert find_device("openvino", onnxruntime).state == "no device"


FORKING = """
import os, sys, threading
from types import ModuleType, SimpleNamespace
from ctonnx.inference import plugins

assert "onnxruntime_ep_webgpu" not in sys.modules
build = ModuleType("onnxruntime")
build.__version__ = "1.31.1"
build.devices = []
build.get_ep_devices = lambda: build.devices
build.set_default_logger_severity = lambda level: None
hardware = SimpleNamespace(type=SimpleNamespace(name="GPU"), vendor="AMD", metadata={})
build.register_execution_provider_library = lambda name, path: build.devices.append(
    SimpleNamespace(ep_name=name, ep_metadata={}, device=hardware)
)
held, done = threading.Event(), threading.Event()

def hold():
    with plugins._REGISTRY.lock:
        held.set()
        done.wait(60)

thread = threading.Thread(target=hold)
thread.start()
held.wait(60)
child = os.fork()
if child == 0:
    os._exit(0 if plugins.find_device("webgpu", build).state == "found" else 3)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_process_that_is_forked_during_a_registration_can_register(fake_plugins: FakePlugins) -> None:
    """The lock was held by a thread that the forked process does not have."""
    fake_plugins.install("webgpu")
    runtime = Path(plugins.__file__).parents[2]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join((str(fake_plugins.folder), str(runtime)))}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING]
    done = subprocess.run(command, env=variables, timeout=30, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# --- builds that contain the provider --------------------------------------------------------------------------------


def test_provider_of_a_build_is_built_in(fake_plugins: FakePlugins) -> None:
    assert is_built_in("cpu", onnxruntime)
    assert not is_built_in("openvino", onnxruntime)
    fake_plugins.available = [OPENVINO, "CPUExecutionProvider"]  # onnxruntime-openvino
    fake_plugins.listed = [device(OPENVINO, "CPU", "Intel", built_in=True)]
    assert is_built_in("openvino", onnxruntime)


@pytest.mark.parametrize("provider", ["openvino:gpu", "openvino:npu"])
def test_older_build_is_used_for_the_processor_only(provider: Provider, fake_plugins: FakePlugins) -> None:
    """onnxruntime-openvino lists its provider on a machine without a GPU, too."""
    fake_plugins.available = [OPENVINO, "CPUExecutionProvider"]
    assert not is_built_in(provider, onnxruntime)


def test_provider_that_a_registered_plugin_made_available_is_not_built_in(fake_plugins: FakePlugins) -> None:
    """onnxruntime 1.31.1 lists QNNExecutionProvider among the available ones once its plugin is registered."""
    fake_plugins.install("openvino", ("CPU", "Intel"))
    find_device("openvino", onnxruntime)
    fake_plugins.available = ["CPUExecutionProvider", OPENVINO]
    assert not is_built_in("openvino", onnxruntime)
    plugins._REGISTRY.names.clear()  # as if the program had registered it
    assert not is_built_in("openvino", onnxruntime)
    fake_plugins.listed = []
    assert is_built_in("openvino", onnxruntime)
