"""Run and model of a command, by name, by folder, or without either."""

import json
from pathlib import Path

import pytest
from tests.runtime.made_runs import make_run, write_model

from ctonnx.artifacts.run import newest_run
from ctonnx.errors import ModelError
from ctonnx.inference.providers import Provider
from ctonnx.prediction import model_selection
from ctonnx.prediction.model_selection import find_model, find_models, newest_export


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in an empty folder, on x86."""
    monkeypatch.setattr(model_selection, "architecture", lambda: "x86")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(model: Path | None, provider: Provider = "cpu") -> str:
    with pytest.raises(ModelError) as caught:
        find_model(model, provider=provider)
    return str(caught.value)


# --- the newest ------------------------------------------------------------------------------------------------------


OLD, NEW = "2026-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"


def test_run_that_was_trained_last_and_has_no_export_is_skipped_and_named() -> None:
    old = make_run("old", OLD, ("fp32",))
    new = make_run("new", NEW)
    found = newest_export()
    assert (found.run, found.exported, found.newer) == (old, 1, new)
    assert found.description == "of run 'old', the only one with an export"
    assert found.note == (
        "run 'new' was trained later and has no export, so 'old' is used; export it with: ctonnx export runs/new"
    )
    assert find_model(None) == old.model_file("fp32")
    assert find_models(None) == [old.model_file("fp32")]
    assert newest_run() == new  # which `ctonnx export` takes


def test_newest_of_several_exports_is_used_and_described() -> None:
    make_run("old", OLD, ("fp32",))
    new = make_run("new", NEW, ("fp32",))
    found = newest_export()
    assert (found.run, found.exported, found.newer, found.note) == (new, 2, None, "")
    assert found.description == "of run 'new', the newest of 2 with an export"


def test_older_runs_without_an_export_are_not_mentioned() -> None:
    make_run("older", OLD)
    make_run("only", NEW, ("int8",))
    assert (newest_export().description, newest_export().note) == ("the newest run's", "")


def test_runs_without_exports_are_an_error_that_names_the_newest() -> None:
    make_run("old", OLD)
    make_run("new", NEW)
    assert error_of(None) == (
        "expected an exported model in 'runs/new/export', found none; make one with: ctonnx export runs/new"
    )


# --- by name or folder -----------------------------------------------------------------------------------------------


# --- its model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "exported", "expected"),
    [
        ("cpu", ("fp32",), "fp32"),
        ("cpu", ("fp32", "fp16"), "fp32"),
        ("cpu", ("fp32", "fp16", "int8"), "int8"),
        ("cpu", ("int8",), "int8"),
        ("cuda", ("fp32",), "fp32"),
        ("cuda", ("fp32", "int8"), "fp32"),
        ("cuda", ("fp32", "fp16", "int8"), "fp16"),
        ("cuda", ("fp16",), "fp16"),
        ("tensorrt", ("fp32", "fp16", "int8"), "fp16"),
        ("tensorrt", ("fp32", "int8"), "fp32"),
        ("openvino", ("fp32", "fp16", "int8"), "int8"),
        ("openvino", ("fp32", "fp16"), "fp32"),
        ("coreml", ("fp32", "fp16", "int8"), "fp16"),
        ("coreml", ("fp32", "int8"), "fp32"),
        ("directml", ("fp32", "fp16", "int8"), "fp16"),
        ("directml", ("fp32", "int8"), "fp32"),
    ],
)
@pytest.mark.parametrize("run", [None, Path("lungs"), Path("runs/lungs")])
def test_model_that_suits_the_provider_is_taken(
    run: Path | None, provider: Provider, exported: tuple[str, ...], expected: str
) -> None:
    made = make_run("lungs", exported=exported)
    assert find_model(run, provider=provider) == made.model_file(expected)


@pytest.mark.parametrize(
    ("machine", "provider", "target", "expected"),
    [
        ("x86", "cpu", "x86", "int8"),
        ("x86", "cpu", "arm", "fp32"),
        ("x86", "cpu", "tensorrt", "fp32"),
        ("x86", "cpu", "amx", "int8"),
        ("arm", "cpu", "amx", "fp32"),
        ("arm", "cpu", "arm", "int8"),
        ("arm", "cpu", "x86", "fp32"),
        ("riscv64", "cpu", "x86", "fp32"),
        ("x86", "tensorrt", "tensorrt", "int8"),
        ("arm", "tensorrt", "tensorrt", "int8"),
        ("arm", "tensorrt", "arm", "fp16"),
        ("x86", "openvino", "x86", "int8"),
        ("x86", "openvino", "arm", "fp32"),
        ("x86", "openvino", "tensorrt", "fp32"),
        ("x86", "openvino", "amx", "fp32"),
        ("x86", "tensorrt", "amx", "fp16"),
        ("x86", "cuda", "tensorrt", "fp16"),
    ],
)
def test_int8_is_taken_only_where_it_was_quantized_for(
    machine: str, provider: Provider, target: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_selection, "architecture", lambda: machine)
    made = make_run("lungs", exported=("fp32", "fp16", "int8"), target=target)
    assert find_model(None, provider=provider) == made.model_file(expected)
    named = made.model_file("int8")
    assert find_model(named, provider=provider) == named, "a file that is named is taken, whatever it is"


@pytest.mark.parametrize("content", [b"", b"text", b"\x72\x00"])
def test_int8_without_a_target_is_skipped(content: bytes) -> None:
    made = make_run("lungs", exported=("fp32", "int8"))
    made.model_file("int8").write_bytes(content)
    assert find_model(None) == made.model_file("fp32")


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_run_without_a_model_is_an_error(provider: Provider) -> None:
    make_run("lungs")
    assert error_of(None, provider) == (
        "expected an exported model in 'runs/lungs/export', found none; make one with: ctonnx export runs/lungs"
    )


@pytest.mark.parametrize(
    ("provider", "exported", "target", "found"),
    [
        ("cpu", ("fp16",), "x86", "model.fp16.onnx"),
        ("cpu", ("fp16", "int8"), "arm", "model.fp16.onnx, model.int8.onnx"),
        ("cuda", ("int8",), "x86", "model.int8.onnx"),
    ],
)
def test_run_without_a_model_for_the_provider_is_an_error_that_lists_its_models(
    provider: Provider, exported: tuple[str, ...], target: str, found: str
) -> None:
    make_run("lungs", exported=exported, target=target)
    assert error_of(None, provider) == (
        f"expected a model for {provider} in 'runs/lungs/export', found only {found}; name a file to use it anyway, "
        "or export the run again with --precision all"
    )


def test_all_models_of_a_run_or_of_an_exports_folder_are_found_fp32_first() -> None:
    run = make_run("lungs", exported=("int8", "fp32"))
    files = [run.model_file("fp32"), run.model_file("int8")]
    assert find_models(None) == find_models(Path("lungs")) == find_models(run.export_folder) == files
    assert find_models(files[1]) == files[1:]
    with pytest.raises(ModelError, match=r"^expected an exported model in 'runs/empty/export', found none"):
        find_models(make_run("empty").folder)


@pytest.mark.parametrize("name", ["model.onnx", "model.bin"])
def test_file_is_taken_whatever_its_ending(name: str) -> None:
    Path(name).touch()
    assert find_model(Path(name)) == Path(name)


def test_missing_onnx_file_is_left_to_the_session() -> None:
    assert find_model(Path("none.onnx")) == Path("none.onnx")


def test_folder_of_exported_models_is_a_model_too(tmp_path: Path) -> None:
    (tmp_path / "model.fp32.onnx").touch()
    write_model(tmp_path / "model.int8.onnx", "x86")
    assert find_model(tmp_path) == tmp_path / "model.int8.onnx"
    assert find_model(tmp_path, provider="cuda") == tmp_path / "model.fp32.onnx"


def test_target_is_read_from_the_file_and_not_from_the_report() -> None:
    run = make_run("lungs", exported=("fp32", "int8"))
    report = {"precisions": {"int8": {"quantization": {"target": "arm"}}}}
    (run.export_folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert find_model(None) == run.model_file("int8")
