"""Libraries are looked up by their modules, as several distributions can install one."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ctonnx.system.packages import extras_to_install, installed_builds, missing_extras, version_of, versions_of

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Returns a function that installs a distribution into an empty environment, as recorded by pip."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    def record(name: str, version: str, *modules: str, requires: tuple[str, ...] = ()) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Requires-Dist: {line}" for line in requires]
        text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
        (folder / "METADATA").write_text(text, encoding="utf-8")
        files = [f"{module}/__init__.py" for module in modules]
        for file in files:
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files), encoding="utf-8")
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / f"after-{name}")])  # results are cached by path

    return record


def loaded(name: str, version: object, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType(name)
    module.__version__ = version
    monkeypatch.setitem(sys.modules, name, module)


# --- versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "distribution", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn", "ort-nightly-gpu"]
)
def test_library_of_any_distribution_has_its_version(
    distribution: str, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    install(distribution, "1.31.1", "onnxruntime")
    assert version_of("onnxruntime") == "1.31.1"
    assert versions_of(["onnxruntime"]) == {distribution: "1.31.1"}
    assert installed_builds() == {distribution: "1.31.1"}


def test_version_is_that_of_the_loaded_module(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("torch", "2.15.0", "torch")
    loaded("torch", "2.15.0+cpu", monkeypatch)
    install("onnxsim-prebuilt", "0.8.1", "onnxsim")
    loaded("onnxsim", "v0.8.1", monkeypatch)
    assert versions_of(["torch", "onnxsim"]) == {"torch": "2.15.0+cpu", "onnxsim-prebuilt": "0.8.1"}


def test_name_is_the_distributions_and_not_the_modules(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sklearn", "PIL", "lightning"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    install("scikit-learn", "1.9.1", "sklearn")
    install("Pillow_SIMD", "9.5", "PIL")
    install("lightning-nightly", "2.7.0.dev1", "lightning")
    assert versions_of(["sklearn", "PIL", "lightning", "is_not_installed"]) == {
        "scikit-learn": "1.9.1",
        "pillow-simd": "9.5",
        "lightning-nightly": "2.7.0.dev1",
    }


def test_module_of_two_distributions_keeps_its_own_name(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded("onnxruntime", "1.31.1", monkeypatch)
    install("onnxruntime", "1.30.0", "onnxruntime")
    install("onnxruntime-gpu", "1.31.1", "onnxruntime")
    assert versions_of(["onnxruntime"]) == {"onnxruntime": "1.31.1"}
    assert installed_builds() == {"onnxruntime": "1.30.0", "onnxruntime-gpu": "1.31.1"}


def test_module_that_is_loaded_from_nowhere_has_its_version(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded("onnxruntime", "1.31.1", monkeypatch)
    assert versions_of(["onnxruntime"]) == {"onnxruntime": "1.31.1"}
    assert installed_builds() == {}


def test_library_that_is_not_installed_has_no_version(install: Install) -> None:
    assert version_of("no_such_library") is None
    assert versions_of(["no_such_library"]) == {}


def test_plugin_of_any_build_is_not_a_build(install: Install) -> None:
    install("onnxruntime-ep-openvino", "1.8", "onnxruntime_ep_openvino")
    install("onnxruntime-extensions", "0.14", "onnxruntime_extensions")
    assert installed_builds() == {}


def test_distribution_of_an_interrupted_install_is_ignored(install: Install, tmp_path: Path) -> None:
    (tmp_path / "~nnxruntime-1.0.dist-info").mkdir()
    (tmp_path / "broken-1.0.dist-info").mkdir()
    (tmp_path / "broken-1.0.dist-info" / "RECORD").write_text("onnxruntime/a.py,,\n", encoding="utf-8")
    install("onnxruntime", "1.31.1", "onnxruntime")
    assert installed_builds() == {"onnxruntime": "1.31.1"}


# --- extras ----------------------------------------------------------------------------------------------------------

REQUIRES = (
    "click>=8.2",
    "onnxruntime>=1.23; extra == 'cpu'",
    "onnxruntime-gpu>=1.23; extra == 'gpu'",
    "nvidia-helper==13.*; (sys_platform == 'win32') and extra == 'gpu'",
    "onnxruntime>=1.24; extra == 'openvino'",
    "onnxruntime-ep-openvino>=1.8; extra == 'openvino'",
    "onnxruntime>=1.24; extra == 'qnn'",
    "onnxruntime-qnn>=2.7; extra == 'qnn'",
    'ImageHash>=4.3 ; extra == "train"',
    "tqdm>=4.67; extra == 'train'",
    "tqdm>=4.67; extra == 'export'",
    "uvicorn[standard]>=0.35; extra == 'serve'",
)
EXTRAS = ("cpu", "gpu", "openvino", "qnn", "train", "export", "serve")


def test_extra_is_missing_if_any_of_its_requirements_is(install: Install) -> None:
    install("ctonnx", "0.3.0", "ctonnx", requires=REQUIRES)
    assert missing_extras(EXTRAS) == EXTRAS
    install("tqdm", "4.70", "tqdm")
    assert missing_extras(EXTRAS) == ("cpu", "gpu", "openvino", "qnn", "train", "serve")
    install("imagehash", "4.3.2", "imagehash")
    install("uvicorn", "0.54", "uvicorn")
    assert missing_extras(EXTRAS) == ("cpu", "gpu", "openvino", "qnn")


def test_any_build_of_onnxruntime_satisfies_the_requirement(install: Install) -> None:
    install("ctonnx", "0.3.0", "ctonnx", requires=REQUIRES)
    install("ort-nightly", "1.32", "onnxruntime")
    assert missing_extras(["cpu", "gpu"]) == ()


def test_plugin_is_required_next_to_any_build(install: Install) -> None:
    install("ctonnx", "0.3.0", "ctonnx", requires=REQUIRES)
    install("onnxruntime-gpu", "1.31.1", "onnxruntime")
    assert missing_extras(["gpu", "openvino", "qnn"]) == ("openvino", "qnn")
    install("onnxruntime-ep-openvino", "1.8.1", "onnxruntime_ep_openvino")
    install("onnxruntime-qnn", "2.7.0", "onnxruntime_qnn")
    assert missing_extras(["gpu", "openvino", "qnn"]) == ()


def test_extras_are_unknown_if_ctonnx_is_a_folder_of_sources(install: Install) -> None:
    assert missing_extras(EXTRAS) == ()


def test_extras_of_this_distribution_are_read_from_its_metadata() -> None:
    extras = importlib.metadata.metadata("ctonnx").get_all("Provides-Extra") or []
    assert missing_extras(["cpu", "train", "export", "dicom", "bench", "serve"]) == ()
    assert len(extras) > len({"cpu", "train", "export", "dicom", "bench", "serve"})


@pytest.mark.parametrize(
    ("builds", "expected"),
    [
        ((), '"ctonnx[cpu,export]"'),
        (("onnxruntime",), '"ctonnx[cpu,export]"'),
        (("onnxruntime-gpu",), '"ctonnx[export]"'),
        (("onnxruntime", "onnxruntime-gpu"), '"ctonnx[export]"'),
        (("ort-nightly",), '"ctonnx[export]"'),
    ],
)
def test_build_is_named_if_none_is_installed(builds: tuple[str, ...], expected: str, install: Install) -> None:
    for build in builds:
        install(build, "1.31.1", "onnxruntime")
    assert extras_to_install(["cpu", "export"]) == expected


def test_extra_cpu_is_left_out_if_another_build_is_installed(install: Install) -> None:
    install("onnxruntime-gpu", "1.31.1", "onnxruntime")
    assert extras_to_install(["cpu"]) == "ctonnx"
