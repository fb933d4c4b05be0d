"""TensorRT computes in the model's precision and caches its engines."""

import ctypes
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from ctonnx.inference import tensorrt
from ctonnx.inference.providers import execution_providers
from ctonnx.inference.tensorrt import cache_folder
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
    monkeypatch.setattr(tensorrt, "_version", lambda: "10.9")
    first = engine_folder(model())
    assert engine_folder(tmp_path / "model.onnx") == first
    folders = [first, engine_folder(model(name="another")), engine_folder(model(), "1.32.0")]
    monkeypatch.setattr(tensorrt, "_version", lambda: "10.13")
    folders.append(engine_folder(model()))
    for driver in (Driver((13, 0), (Gpu("NVIDIA H100", "9.1"),)), Driver((13, 0), (Gpu("T4", "7.5"),)), None):
        monkeypatch.setattr(tensorrt, "nvidia_driver", lambda driver=driver: driver)
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
    monkeypatch.setattr(tensorrt, "version_of", lambda module: None)
    assert tensorrt._version() == "unknown"

    class Library:
        def getInferLibVersion(self) -> int:  # noqa: N802
            return 101303

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert tensorrt._version() == "101303"
    monkeypatch.setattr(tensorrt, "version_of", {"tensorrt": None, "tensorrt_libs": "10.13.3.9"}.__getitem__)
    assert tensorrt._version() == "10.13.3.9"


def test_model_of_another_maker_has_no_precision(tmp_path: Path) -> None:
    foreign = helper.make_model(helper.make_graph([], "graph", [], []))
    onnx.save(foreign, tmp_path / "foreign.onnx")
    options = execution_providers("tensorrt", tmp_path / "foreign.onnx", threads=1, version="1.31.1")[0][1]
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("False", "False")


def test_unknown_home_disables_only_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", unknown)
    options = execution_providers("tensorrt", model(), threads=1, version="1.31.1")[0][1]
    assert set(options) == {"trt_fp16_enable", "trt_int8_enable"}
