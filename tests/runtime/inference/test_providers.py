"""Each provider has its package, its options, and the libraries that pip installed for it."""

import ctypes
import importlib.metadata
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import onnx
import onnxruntime
import pytest
from onnx import helper

from ctonnx.inference import providers
from ctonnx.inference.providers import PROVIDERS, Provider, cache_folder, execution_providers, preload
from ctonnx.system.nvidia import Driver, Gpu

H100 = Gpu("NVIDIA H100", "9.0")


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Simulates Linux with a GPU and a temporary cache folder."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(providers, "nvidia_driver", lambda: Driver((13, 0), (H100,)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def model(precision: str = "fp32", name: str = "model") -> bytes:
    made = helper.make_model(helper.make_graph([], name, [], []))
    helper.set_model_props(made, {"ctonnx.spec": f'{{"precision": "{precision}"}}'})
    content: bytes = made.SerializeToString()
    return content


# --- packages and options --------------------------------------------------------------------------------------------


def test_every_provider_has_a_package_and_onnxruntimes_own_name() -> None:
    assert set(PROVIDERS) == set(get_args(Provider))
    assert {package.execution_provider for package in PROVIDERS.values()} <= set(onnxruntime.get_all_providers())


def test_every_provider_has_an_extra_that_installs_its_build() -> None:
    extras = importlib.metadata.metadata("ctonnx").get_all("Provides-Extra") or []
    needed = importlib.metadata.requires("ctonnx") or []
    for package in PROVIDERS.values():
        assert package.extra in extras
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
    ("precision", "fp16", "int8"), [("fp32", "False", "False"), ("fp16", "True", "False"), ("int8", "False", "True")]
)
def test_tensorrt_computes_in_the_models_precision_and_keeps_its_engines(
    precision: str, fp16: str, int8: str, tmp_path: Path
) -> None:
    (first, options), (second, cuda) = execution_providers("tensorrt", model(precision), threads=1, version="1.31.1")
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert cuda["use_tf32"] == "0"
    folder = Path(options.pop("trt_engine_cache_path"))
    assert folder.is_dir()
    assert folder.parent == tmp_path / "cache/ctonnx/tensorrt"
    assert options == {
        "trt_fp16_enable": fp16,
        "trt_int8_enable": int8,
        "trt_engine_cache_enable": "True",
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def engine_folder(content: bytes | Path, version: str = "1.31.1") -> str:
    return execution_providers("tensorrt", content, threads=1, version=version)[0][1]["trt_engine_cache_path"]


def test_engines_of_another_model_gpu_or_release_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model())
    monkeypatch.setattr(providers, "_tensorrt_version", lambda: "10.9")
    first = engine_folder(model())
    assert engine_folder(tmp_path / "model.onnx") == first
    folders = [first, engine_folder(model(name="another")), engine_folder(model(), "1.32.0")]
    monkeypatch.setattr(providers, "_tensorrt_version", lambda: "10.13")
    folders.append(engine_folder(model()))
    for driver in (Driver((13, 0), (Gpu("NVIDIA H100", "9.1"),)), Driver((13, 0), (Gpu("T4", "7.5"),)), None):
        monkeypatch.setattr(providers, "nvidia_driver", lambda driver=driver: driver)
        folders.append(engine_folder(model()))
    assert len(set(folders)) == len(folders)


def test_folder_that_is_not_writable_disables_only_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    options = execution_providers("tensorrt", model("fp16"), threads=1, version="1.31.1")[0][1]
    assert options == {"trt_fp16_enable": "True", "trt_int8_enable": "False"}


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/cache"}, "/cache/ctonnx"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/me/.cache/ctonnx"),
        ("linux", {"LOCALAPPDATA": "/local"}, "/home/me/.cache/ctonnx"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/ctonnx/Cache"),
    ],
)
def test_cache_is_in_the_folder_of_the_system(
    system: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder().as_posix() == expected


def test_version_of_tensorrt_is_pips_or_the_librarys_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "version_of", lambda module: None)
    assert providers._tensorrt_version() == "unknown"

    class Library:
        def getInferLibVersion(self) -> int:  # noqa: N802
            return 101303

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert providers._tensorrt_version() == "101303"
    monkeypatch.setattr(providers, "version_of", {"tensorrt": None, "tensorrt_libs": "10.13.3.9"}.__getitem__)
    assert providers._tensorrt_version() == "10.13.3.9"


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


def test_model_of_another_maker_has_no_precision(tmp_path: Path) -> None:
    foreign = helper.make_model(helper.make_graph([], "graph", [], []))
    onnx.save(foreign, tmp_path / "foreign.onnx")
    options = execution_providers("tensorrt", tmp_path / "foreign.onnx", threads=1, version="1.31.1")[0][1]
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("False", "False")


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


def test_unknown_home_disables_only_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", unknown)
    options = execution_providers("tensorrt", model(), threads=1, version="1.31.1")[0][1]
    assert set(options) == {"trt_fp16_enable", "trt_int8_enable"}
