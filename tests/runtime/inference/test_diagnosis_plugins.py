"""The reason why a plugin has no device here is one sentence, with its fix or with what runs here instead."""

import onnxruntime
import pytest
from tests.runtime.inference.fake_plugins import FakePlugins, fake_plugins

from ctonnx.inference import diagnosis
from ctonnx.inference.diagnosis import (
    explain_failure,
    explain_missing_plugin,
    not_for_this_machine,
    plugin_fault,
)
from ctonnx.inference.plugins import DeviceSearch, find_device
from ctonnx.inference.providers import Provider
from ctonnx.system.nvidia import Driver, Gpu

__all__ = ["fake_plugins"]

ON_CPU = "run on --provider cpu here"


def fault(provider: Provider) -> str:
    return plugin_fault(provider, onnxruntime, find_device(provider, onnxruntime))


# --- what no package changes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "machine", "expected"),
    [
        ("openvino", ("Cortex", "arm", "linux"), "is for x86 processors, and this one is ARM"),
        ("openvino:gpu", ("POWER", "ppc64le", "linux"), "is for x86 processors, and this one is ppc64le"),
        ("openvino", ("Intel", "x86", "darwin"), "is for Linux and Windows, and this is macOS"),
        ("mlx", ("AMD", "x86", "linux"), "is for macOS, and this is Linux"),
        ("mlx", ("Intel", "x86", "darwin"), "is for ARM processors, and this one is x86"),
        ("qnn", ("Apple M4", "arm", "darwin"), "is for Linux and Windows, and this is macOS"),
        ("webgpu", ("one", "riscv64", "linux"), "is for x86 and ARM processors, and this one is riscv64"),
    ],
)
def test_other_machine_is_reported(
    provider: Provider, machine: tuple[str, str, str], expected: str, fake_plugins: FakePlugins
) -> None:
    fake_plugins.machine(*machine)
    assert not_for_this_machine(provider) == f"the provider {provider!r} {expected}; {ON_CPU}"


@pytest.mark.parametrize("provider", ["cpu", "openvino", "openvino:npu", "qnn", "webgpu"])
def test_machine_that_may_have_the_hardware_is_not_rejected(provider: Provider, fake_plugins: FakePlugins) -> None:
    assert not_for_this_machine(provider) is None


def test_machine_without_a_gpu_needs_no_plugin_for_one(
    fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "nvidia_driver", lambda: None)
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: False)
    assert not_for_this_machine("tensorrt-rtx") == (
        f"the provider 'tensorrt-rtx' does not run here: this machine has no NVIDIA GPU; {ON_CPU}"
    )


# --- what is installed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("openvino", 'its plugin onnxruntime-ep-openvino is not installed; pip install "ctonnx[openvino]"'),
        ("openvino:gpu", 'its plugin onnxruntime-ep-openvino is not installed; pip install "ctonnx[openvino]"'),
        ("qnn", 'its plugin onnxruntime-qnn is not installed; pip install "ctonnx[qnn]"'),
        ("webgpu", 'its plugin onnxruntime-ep-webgpu is not installed; pip install "ctonnx[webgpu]"'),
    ],
)
def test_missing_plugin_is_reported_with_its_command(
    provider: Provider, expected: str, fake_plugins: FakePlugins
) -> None:
    fake_plugins.machine("Intel(R) Xeon(R) Platinum 8488C")
    assert fault(provider) == expected
    search = DeviceSearch(state="not installed")
    assert explain_missing_plugin(provider, onnxruntime, search) == (
        f"the provider {provider!r} does not run here: {expected}"
    )


def test_processor_of_another_vendor_gets_no_command_for_a_plugin_that_does_not_take_it(
    fake_plugins: FakePlugins,
) -> None:
    assert fault("openvino") == (
        "its plugin onnxruntime-ep-openvino is not installed; onnxruntime-ep-openvino>=1.8 has devices on Intel "
        f"processors alone, and this one is AMD EPYC; {ON_CPU}"
    )
    assert "has devices on Intel processors alone" in fault("openvino:npu"), "it is a part of the processor"
    assert fault("openvino:gpu").endswith('pip install "ctonnx[openvino]"'), "an Intel GPU may be beside it"


def test_missing_plugin_is_not_installed_over_two_builds(
    fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"})
    assert fault("webgpu") == (
        "its plugin onnxruntime-ep-webgpu is not installed; onnxruntime 1.30.0 and onnxruntime-gpu 1.31.1 are "
        "installed over each other, in one folder, where each has some of the files; pip uninstall --yes onnxruntime "
        'onnxruntime-gpu, then pip install "ctonnx[webgpu]"'
    )


@pytest.mark.parametrize("build", ["onnxruntime", "onnxruntime-gpu"])
def test_old_build_is_reported_by_its_own_name(
    build: str, fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_plugins.install("webgpu", version="0.4.0")
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: {build: "1.23.2"})
    assert fault("webgpu") == (
        "its plugin onnxruntime-ep-webgpu 0.4.0 needs onnxruntime 1.24 or newer, found 1.23.2; "
        f'pip install "{build}>=1.24"'
    )


# --- what does not load or run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            "libvulkan.so.1: cannot open shared object file: No such file or directory",
            "needs the library libvulkan.so.1, which was not found; install the Vulkan loader and the GPU's driver "
            f"(Debian: libvulkan1, mesa-vulkan-drivers), or {ON_CPU}",
        ),
        (
            "libother.so.2: cannot open shared object file: No such file or directory",
            f"needs the library libother.so.2, which was not found; install it, or {ON_CPU}",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : API version 31 is not supported\nmore",
            f"does not load (API version 31 is not supported); {ON_CPU}",
        ),
    ],
)
def test_plugin_that_does_not_load_is_reported(error: str, expected: str, fake_plugins: FakePlugins) -> None:
    fake_plugins.install("webgpu", version="0.4.0")
    fake_plugins.error = RuntimeError(f"Failed to load library x.so with error: {error}" if "lib" in error else error)
    assert fault("webgpu") == f"its plugin onnxruntime-ep-webgpu 0.4.0 {expected}"


@pytest.mark.parametrize(
    ("library", "driver", "expected"),
    [
        (  # onnxruntime-ep-nv-tensorrt-rtx-cu13 0.5.0 on a machine without a driver
            "libcuda.so.1",
            None,
            "NVIDIA's driver was not found (its library is libcuda.so.1, nvcuda.dll on Windows); install the driver "
            "for your GPU, or in a container give it the GPU: docker run --gpus all",
        ),
        (  # onnxruntime-ep-nv-tensorrt-rtx-cu12 0.5.0
            "libcudart.so.12",
            Driver((13, 0), (Gpu("NVIDIA H100", "9.0"),)),
            "its plugin onnxruntime-ep-nv-tensorrt-rtx-cu13 0.5.0 needs the library libcudart.so.12, which was not "
            f"found; install it, or {ON_CPU}",
        ),
    ],
)
def test_missing_library_of_nvidia_is_reported_with_the_cause(
    library: str, driver: Driver | None, expected: str, fake_plugins: FakePlugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "nvidia_driver", lambda: driver)
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: True)
    fake_plugins.install("tensorrt-rtx", version="0.5.0")
    fake_plugins.error = RuntimeError(
        f"[ONNXRuntimeError] : 1 : FAIL : Failed to load library a.so with error: {library}: cannot open shared object "
        "file: No such file or directory"
    )
    assert fault("tensorrt-rtx") == expected


@pytest.mark.parametrize(
    ("provider", "devices", "expected"),
    [
        ("openvino", (), "onnxruntime-ep-openvino 1.8.1 needs an Intel processor, and this one is AMD EPYC"),
        ("openvino:gpu", (), "onnxruntime-ep-openvino 1.8.1 needs an Intel GPU, and onnxruntime found none"),
        (
            "openvino:npu",
            (("CPU", "Intel"), ("GPU", "Intel")),
            "onnxruntime-ep-openvino 1.8.1 needs an Intel NPU, and onnxruntime found none, only CPU of Intel, GPU of "
            "Intel",
        ),
        (
            "qnn",
            (("CPU", "AMD"),),
            "onnxruntime-qnn 1.8.1 needs a Qualcomm NPU, and onnxruntime found none, only CPU of AMD",
        ),
        ("webgpu", (), "onnxruntime-ep-webgpu 1.8.1 needs a GPU, and onnxruntime found none"),
    ],
)
def test_missing_hardware_is_reported_with_what_runs_here(
    provider: Provider, devices: tuple[tuple[str, str], ...], expected: str, fake_plugins: FakePlugins
) -> None:
    fake_plugins.install(provider, *devices)
    assert fault(provider) == f"its plugin {expected}; {ON_CPU}"


def test_failure_of_a_plugins_session_is_not_looked_for_in_the_build(fake_plugins: FakePlugins) -> None:
    """onnxruntime's own folder has no library of a plugin, which is not why it fails."""
    fake_plugins.install("openvino", ("CPU", "Intel"))
    find_device("openvino", onnxruntime)
    assert explain_failure("openvino", onnxruntime, "[ONNXRuntimeError] : 11 : EP_FAIL : it fell over") == (
        "the provider 'openvino' does not run here: it fell over; see what works with: ctonnx doctor"
    )
