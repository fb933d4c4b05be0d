"""Each provider has its package, its options, and the libraries that pip installed for it."""

import ctypes
import importlib.metadata
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import onnxruntime
import pytest
from onnx import helper

from ctonnx.inference import tensorrt
from ctonnx.inference.providers import (
    PROVIDERS,
    Provider,
    computed_precision,
    execution_providers,
    plugin_options,
    preload,
)
from ctonnx.parity.acceptance_gates import DEVICE_GATES, GATES
from ctonnx.system.nvidia import Driver, Gpu

H100 = Gpu("NVIDIA H100", "9.0")


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Simulates Linux with a GPU and a temporary cache folder."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(tensorrt, "nvidia_driver", lambda: Driver((13, 0), (H100,)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def model(precision: str = "fp32", name: str = "model") -> bytes:
    made = helper.make_model(helper.make_graph([], name, [], []))
    helper.set_model_props(made, {"ctonnx.spec": f'{{"precision": "{precision}"}}'})
    content: bytes = made.SerializeToString()
    return content


# --- packages and options --------------------------------------------------------------------------------------------


def test_every_provider_has_a_package_and_onnxruntimes_own_name() -> None:
    assert set(PROVIDERS) == set(get_args(Provider))
    built_in = {package.execution_provider for package in PROVIDERS.values() if package.plugin is None}
    assert built_in <= set(onnxruntime.get_all_providers())


def test_every_provider_has_an_extra_that_installs_its_build() -> None:
    extras = importlib.metadata.metadata("ctonnx").get_all("Provides-Extra") or []
    needed = importlib.metadata.requires("ctonnx") or []
    for package in PROVIDERS.values():
        assert package.extra in extras
        if package.plugin:
            wanted = rf"{re.escape(package.plugin.requirement)}; extra == ['\"]{package.extra}['\"]"
            assert [line for line in needed if re.fullmatch(wanted, line)]
        name = re.escape(package.distribution)
        assert [line for line in needed if re.match(rf"{name}[^\w-].*extra == ['\"]{package.extra}['\"]", line)]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("cpu", [("CPUExecutionProvider", {})]),
        ("cuda", [("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})]),
        (
            "openvino",
            [("OpenVINOExecutionProvider", {"device_type": "CPU", "num_of_threads": "3", "precision": "ACCURACY"})],
        ),
        ("coreml", [("CoreMLExecutionProvider", {"ModelFormat": "MLProgram"})]),
        ("directml", [("DmlExecutionProvider", {})]),
    ],
)
def test_provider_gets_its_options(provider: Provider, expected: object) -> None:
    assert execution_providers(provider, model(), threads=3, version="1.31.1") == expected


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (
            "openvino",
            {"load_config": '{"CPU": {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": "3"}}'},
        ),
        ("openvino:gpu", {"load_config": '{"GPU": {"EXECUTION_MODE_HINT": "ACCURACY"}}'}),
        ("openvino:npu", {}),
        ("tensorrt-rtx", {}),
        ("qnn", {}),
        ("webgpu", {}),
        ("mlx", {}),
    ],
)
def test_provider_of_a_plugin_gets_its_options(provider: Provider, expected: object) -> None:
    assert plugin_options(provider, threads=3) == expected


def test_one_plugin_has_one_package_for_all_its_devices() -> None:
    plugins = [facts.plugin for facts in PROVIDERS.values() if facts.plugin]
    assert len({plugin.module for plugin in plugins}) == len({plugin.requirement for plugin in plugins})
    of_openvino = [plugin for plugin in plugins if plugin.module == "onnxruntime_ep_openvino"]
    assert [plugin.device for plugin in of_openvino] == ["CPU", "GPU", "NPU"]


@pytest.mark.parametrize(
    ("provider", "precision", "expected"),
    [
        *((provider, "fp32", "fp32") for provider in ("cpu", "cuda", "openvino", "openvino:gpu", "webgpu")),
        *((provider, "fp32", "fp16") for provider in ("openvino:npu", "qnn")),
        ("qnn", "fp16", "fp16"),
        ("qnn", "int8", "int8"),
    ],
)
def test_provider_that_computes_in_fp16_has_its_tolerance(provider: Provider, precision: str, expected: str) -> None:
    found = computed_precision(provider, precision)
    assert found == expected
    assert (GATES[found].max_dp, DEVICE_GATES[found].max_dp) == {
        "fp32": (1e-4, 1e-4),
        "fp16": (5e-3, 5e-3),
        "int8": (1.0, 0.05),
    }[found]


# --- libraries that pip installed ------------------------------------------------------------------------------------


class Preloading(ModuleType):
    """A module that counts how often its libraries were loaded."""

    def __init__(self) -> None:
        super().__init__("onnxruntime")
        self.count = 0

    def preload_dlls(self) -> None:
        print("Failed to load libcublasLt.so.13")
        self.count += 1


@pytest.mark.parametrize(
    ("provider", "count"), [("cpu", 0), ("cuda", 1), ("tensorrt", 1), ("openvino", 0), ("coreml", 0), ("directml", 0)]
)
def test_libraries_of_cuda_are_loaded_silently_and_only_if_needed(
    provider: Provider, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    module = Preloading()
    preload(provider, module)
    assert module.count == count
    assert capfd.readouterr() == ("", "")


def test_libraries_of_tensorrts_wheel_are_loaded_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tensorrt_libs"
    folder.mkdir()
    names = (
        "libnvonnxparser.so.10",
        "libnvinfer.so.10",
        "libnvinfer_plugin.so.10",
        "libnvinfer_builder_resource.so.10",
    )
    for name in ("__init__.py", *names):
        (folder / name).touch()
    loaded: list[str] = []

    def load(name: str) -> None:
        loaded.append(Path(name).name)
        raise OSError

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ctypes, "CDLL", load)
    preload("tensorrt", Preloading())
    assert loaded == ["libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10"]


@pytest.mark.parametrize("fault", [None, SystemExit("Error: Please set"), IndexError("list index out of range")])
def test_openvino_of_windows_is_searched_in_pips_folder(
    fault: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel of onnxruntime-openvino includes OpenVINO on Linux, and only a tool of onnxruntime on Windows."""
    module: Any = ModuleType("onnxruntime.tools.add_openvino_win_libs")
    count = 0

    def add() -> None:
        nonlocal count
        count += 1
        if fault:
            raise fault

    module.add_openvino_libs_to_path = add
    monkeypatch.setitem(sys.modules, "onnxruntime.tools.add_openvino_win_libs", module)
    preload("openvino", Preloading())
    assert count == 0
    monkeypatch.setattr(sys, "platform", "win32")
    preload("openvino", Preloading())
    assert count == 1
