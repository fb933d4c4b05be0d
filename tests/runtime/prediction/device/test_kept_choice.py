"""A kept choice is of one device, one setting, and the files, packages and driver that it was measured with."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctonnx.artifacts.golden import FILE_NAME
from ctonnx.errors import ModelError
from ctonnx.inference.providers import Provider
from ctonnx.prediction.device import kept_choice as module
from ctonnx.prediction.device.candidates import Candidate
from ctonnx.prediction.device.kept_choice import (
    KeptChoice,
    device_facts,
    keep_choice,
    kept_files,
    model_facts,
    read_choice,
)
from ctonnx.system.cpu import Processor
from ctonnx.system.files import write_text
from ctonnx.system.nvidia import Driver, Gpu

T4 = Gpu("Tesla T4", "7.5")
CANDIDATES = (Candidate(provider="cpu", model="model.fp32.onnx", images_per_s=2.0), Candidate(provider="cuda"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def paths(export: Path) -> dict[Provider, Path]:
    return {"cpu": export / "model.fp32.onnx"}


def drive(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu, cuda: tuple[int, int] = (13, 0)) -> None:
    monkeypatch.setattr(module, "nvidia_driver", lambda: Driver(cuda, gpus))


@pytest.mark.parametrize("change", ["processor", "cores", "threads", "spinning", "GPU", "second GPU", "no GPU"])
def test_device_and_setting_have_files_of_their_own(export: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    settings: dict[str, Any] = {"threads": 1, "spinning": True}
    drive(monkeypatch, T4)
    before = kept_files(export, device_facts(**settings))
    assert before == kept_files(export, device_facts(**settings))
    match change:
        case "processor":
            monkeypatch.setattr(module, "processor", lambda: Processor("Another CPU", frozenset()))
        case "cores":
            monkeypatch.setattr(module, "available_cores", lambda: 99)
        case "threads":
            settings["threads"] = 2
        case "spinning":
            settings["spinning"] = False
        case "GPU":
            drive(monkeypatch, Gpu("NVIDIA L4", "8.9"))
        case "second GPU":
            drive(monkeypatch, T4, T4)
        case _:
            drive(monkeypatch)
    assert not {*before} & {*kept_files(export, device_facts(**settings))}


@pytest.mark.parametrize(
    "change",
    ["model", "golden", "no golden", "package", "plugin", "ctonnx", "CUDA", "driver", "setting", "TF32", "reason"],
)
def test_choice_is_of_its_files_packages_driver_and_settings(
    export: Path, paths: dict[Provider, Path], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    drive(monkeypatch, T4)
    versions = {"ctonnx": "1", "onnxruntime-ep-webgpu": "1"}
    monkeypatch.setattr(module, "versions_of", lambda modules: {name: versions[name] for name in versions})
    candidates = CANDIDATES
    before = model_facts(candidates, paths)
    assert before == model_facts(candidates, paths)
    match change:
        case "model":
            with paths["cpu"].open("ab") as file:
                file.write(b"0")
        case "golden":
            (export / FILE_NAME).write_bytes(b"0")
        case "no golden":
            (export / FILE_NAME).unlink()
        case "package":
            monkeypatch.setattr(module, "installed_builds", lambda: {"onnxruntime-gpu": "9.9"})
        case "plugin":
            versions["onnxruntime-ep-webgpu"] = "2"
        case "ctonnx":
            versions["ctonnx"] = "2"
        case "CUDA":
            drive(monkeypatch, T4, cuda=(13, 1))
        case "driver":
            monkeypatch.setattr(module, "driver_build", lambda: "Kernel Module 580.65.06")
        case "setting":
            monkeypatch.setenv("CTONNX_CUDA", "tf32,nhwc")
        case "TF32":
            monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        case _:
            candidates = (CANDIDATES[0], Candidate(provider="cuda", left_out="this machine has no NVIDIA GPU"))
    assert model_facts(candidates, paths) != before


def test_unknown_cuda_setting_is_no_error(paths: dict[Provider, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTONNX_CUDA", "fast")
    assert "CUDA settings fast" in model_facts(CANDIDATES, paths)


def test_every_plugin_and_build_is_among_the_packages(
    paths: dict[Provider, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "versions_of", lambda modules: dict.fromkeys(modules, "1"))
    facts = model_facts(CANDIDATES, paths)
    for name in ("ctonnx", "tensorrt", "onnxruntime_ep_openvino", "onnxruntime_qnn", "onnxruntime_ep_webgpu"):
        assert f"package {name} 1" in facts
    assert any(fact.startswith("package onnxruntime ") for fact in facts)


def choice(*facts: str) -> KeptChoice:
    return KeptChoice(facts=facts, provider="cpu", candidates=CANDIDATES)


def test_choice_is_read_as_it_was_written(export: Path) -> None:
    files = kept_files(export, ["a"])
    assert files[0].parent == export
    assert read_choice(files, ("a",)) is None
    assert keep_choice(files, choice("a")) == f"kept in {files[0]}"
    assert read_choice(files, ("a",)) == (choice("a"), files[0])
    assert read_choice(files, ("b",)) is None
    assert not files[1].exists()


def test_choice_for_a_folder_that_is_read_only_is_in_the_users_cache(
    export: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(file: Path, text: str) -> None:
        if file.parent == export:
            raise OSError(30, "Read-only file system")
        write_text(file, text)

    monkeypatch.setattr(module, "write_text", write)
    files = kept_files(export, ["a"])
    assert keep_choice(files, choice("a")) == f"kept in {files[1]}"
    assert read_choice(files, ("a",)) == (choice("a"), files[1])
    assert files[1].parent == cache / "ctonnx/fastest"
    assert kept_files(export / "model.fp32.onnx", ["a"])[1] != files[1]


def test_reasons_of_both_folders_are_given_if_neither_can_be_written(
    export: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("a file")  # where the folder would be
    (export / kept_files(export, ["a"])[0].name).mkdir()
    line = keep_choice(kept_files(export, ["a"]), choice("a"))
    assert line.startswith(f"not kept for the next start, as the file cannot be written ('{export}': ")
    assert f"; '{cache / 'ctonnx/fastest'}': " in line


def test_no_home_folder_is_no_error(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(module, "cache_folder", fail)
    assert [file.parent for file in kept_files(export, ["a"])] == [export]


@pytest.mark.parametrize(
    "text",
    ["", "[" * 100_000, "{}", "another schema", "another provider", "a provider without a name", "one left out"],
)
def test_damaged_or_changed_file_is_measured_again(export: Path, text: str) -> None:
    files = kept_files(export, ["a"])
    keep_choice(files, choice("a"))
    document = json.loads(files[0].read_text())
    match text:
        case "another schema":
            document["schema_version"] = 99
        case "another provider":
            document["provider"] = "coreml"
        case "a provider without a name":
            document["provider"] = "tpu"
        case "one left out":
            document["candidates"][0]["left_out"] = "max |dp| is 0.3"
    files[0].write_text(json.dumps(document) if document != json.loads(files[0].read_text()) else text)
    assert read_choice(files, ("a",)) is None


def test_model_that_does_not_exist_is_an_error(workspace: Path) -> None:
    with pytest.raises(ModelError):
        kept_files(Path("runs/none"), ["a"])


def test_facts_of_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch, paths: dict[Provider, Path]) -> None:
    monkeypatch.setattr(module, "nvidia_driver", lambda: None)
    monkeypatch.setattr(module, "processor", lambda: SimpleNamespace(model=""))
    assert not [fact for fact in device_facts(threads=1, spinning=True) if "GPU" in fact]
    assert not [fact for fact in model_facts(CANDIDATES, paths) if fact.startswith("driver")]


def test_choice_for_a_signed_model_is_not_next_to_it(
    export: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = kept_files(export, ["a"], beside_model=False)
    assert file == kept_files(export, ["a"])[1]
    assert keep_choice([file], choice("a")) == f"kept in {file}"
    assert read_choice([file], ("a",)) == (choice("a"), file)

    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(module, "cache_folder", fail)
    assert kept_files(export, ["a"], beside_model=False) == ()
    assert keep_choice((), choice("a")) == "not kept for the next start, as there is no cache folder for it"
