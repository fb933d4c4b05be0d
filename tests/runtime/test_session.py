"""A session runs where it was asked to run or not at all, and what is no ctonnx model is refused with a sentence."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ctonnx import session as session_module
from ctonnx.errors import ModelError, ProviderError
from ctonnx.images import Preprocessing
from ctonnx.machine import available_cores
from ctonnx.outputs import OUTPUT_NAMES
from ctonnx.session import open_session, read_spec
from ctonnx.spec import METADATA_KEY, ModelSpec

SPEC = ModelSpec(
    name="tiny",
    classes=("a", "b", "c"),
    preprocessing=Preprocessing(size=32),
    precision="fp32",
    created="2026-01-01T00:00:00+00:00",
    checkpoint_sha256="ab" * 32,
    data={},
    synthetic=True,
    metrics={},
    parity={},
    versions={},
)

has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def means(
    file: Path, spec: str | None = None, inputs: tuple[str, ...] = ("pixels",), outputs: tuple[str, ...] = OUTPUT_NAMES
) -> Path:
    """Writes a model whose outputs are the means of its first input's channels."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", [inputs[0], "axes"], [name], keepdims=0) for name in outputs],
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 32, 32, 3]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in outputs],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if spec is not None:
        helper.set_model_props(made, {METADATA_KEY: spec})
    onnx.save(made, file)
    return file


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A model of a few hundred bytes that has all that a ctonnx model must have."""
    return means(tmp_path / "small.onnx", SPEC.to_json())


# --- providers and threads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimize", [True, False])
def test_session_runs_on_the_cpu_and_on_nothing_else(small: Path, optimize: bool) -> None:
    assert open_session(small, optimize=optimize).get_providers() == ["CPUExecutionProvider"]


def test_session_is_opened_from_bytes_too(small: Path) -> None:
    assert read_spec(open_session(small.read_bytes()), "bytes") == SPEC


@pytest.mark.skipif(has_cuda, reason="this onnxruntime has CUDA")
def test_cuda_is_refused_where_onnxruntime_has_none(small: Path) -> None:
    with pytest.raises(ProviderError) as caught:
        open_session(small, provider="cuda")
    assert str(caught.value) == (
        "the provider 'cuda' needs CUDAExecutionProvider, which the installed onnxruntime does not have "
        f"(it has {', '.join(onnxruntime.get_available_providers())}); on a machine with an NVIDIA GPU: "
        'pip uninstall onnxruntime, then pip install "ctonnx[gpu]"'
    )


def test_provider_that_did_not_start_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_cpu = open_session(small)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(session_module, "_start", lambda *arguments: on_the_cpu)
    with pytest.raises(ProviderError) as caught:
        open_session(small, provider="cuda")
    assert str(caught.value) == (
        "the provider 'cuda' was asked for and did not start; onnxruntime would run on CPUExecutionProvider instead; "
        'on a machine with an NVIDIA GPU: pip uninstall onnxruntime, then pip install "ctonnx[gpu]"'
    )


def test_libraries_of_cuda_are_loaded_before_the_session(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Started:
        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def start(*arguments: object) -> Started:
        events.append("start")
        return Started()

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: events.append("preload"))
    monkeypatch.setattr(session_module, "_start", start)
    open_session(small, provider="cuda")
    assert events == ["preload", "start"]


def test_session_does_not_go_on_with_another_provider_when_its_own_fails(small: Path) -> None:
    """Onnxruntime's `run` would make a new session on the CPU and say so on stdout alone."""
    assert open_session(small)._enable_fallback is False


@pytest.mark.parametrize("provider", ["tpu", "CUDA", "", None])
def test_provider_that_does_not_exist_is_refused(small: Path, provider: Any) -> None:
    with pytest.raises(ProviderError, match=f"^expected a provider of cpu, cuda, found {provider!r}$"):
        open_session(small, provider=provider)


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_threads_than_one_are_refused(small: Path, threads: int) -> None:
    with pytest.raises(ValueError, match=f"^expected at least 1 thread, found {threads}$"):
        open_session(small, threads=threads)


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (3, 3), (None, available_cores())])
def test_session_gets_its_threads(small: Path, threads: int | None, expected: int) -> None:
    assert open_session(small, threads=threads).get_session_options().intra_op_num_threads == expected


# --- files that are no model -----------------------------------------------------------------------------------------


def refusal(model: Path | bytes) -> str:
    with pytest.raises(ModelError) as caught:
        open_session(model)
    return str(caught.value)


@pytest.mark.parametrize("folder", [True, False])
def test_missing_file_is_refused(folder: bool, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    if folder:
        file.mkdir()
    assert refusal(file) == f"expected an .onnx file, found no file at '{file}'; see which there are: ls runs/*/export"


def test_empty_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.touch()
    assert refusal(file) == f"expected an .onnx file, found an empty file at '{file}'; export the model again"


def assert_not_whole(found: str, name: str) -> None:
    """Checks the sentence around onnxruntime's own words, which change with its version."""
    assert re.fullmatch(
        rf"{re.escape(name)} is not a whole ONNX model \(onnxruntime says: [^\n]+\); "
        "if it was copied or downloaded, do that again, else export it again",
        found,
    )


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_truncated_model_is_refused(kept: int, small: Path) -> None:
    small.write_bytes(small.read_bytes()[:kept])
    assert_not_whole(refusal(small), f"'{small}'")


def test_truncated_export_is_refused(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with model.open("rb") as whole:
        file.write_bytes(whole.read(1_000_000))
    assert_not_whole(refusal(file), f"'{file}'")


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"\x89PNG\r\n\x1a\n", bytes(100)])
def test_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    assert_not_whole(refusal(file), f"'{file}'")


@pytest.mark.parametrize("content", [b"", b"text"])
def test_bytes_of_another_kind_are_refused(content: bytes) -> None:
    assert_not_whole(refusal(content), "the model")


# --- the spec --------------------------------------------------------------------------------------------------------


def test_spec_of_an_export_is_read(model: Path) -> None:
    spec = read_spec(open_session(model, optimize=False), str(model))
    assert spec.name == "tiny"
    assert spec.classes == ("cavitating", "large central", "normal", "small peripheral")
    assert spec.preprocessing == Preprocessing(size=64)
    assert (spec.precision, spec.synthetic) == ("fp32", True)
    assert spec.operating_point is not None
    assert spec.operating_point.positive == ("cavitating", "large central", "small peripheral")


def test_export_maps_pixels_to_the_three_outputs_in_their_order(model: Path) -> None:
    opened = open_session(model, optimize=False)
    assert [(item.name, item.type, item.shape) for item in (*opened.get_inputs(), *opened.get_outputs())] == [
        ("pixels", "tensor(uint8)", ["batch", 64, 64, 3]),
        ("probabilities", "tensor(float)", ["batch", 4]),
        ("logits", "tensor(float)", ["batch", 4]),
        ("heatmap", "tensor(float)", ["batch", 4, 2, 2]),
    ]


def spec_refusal(file: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_spec(open_session(file), str(file))
    return str(caught.value)


def test_model_without_a_spec_is_refused(tmp_path: Path) -> None:
    file = means(tmp_path / "foreign.onnx")
    assert spec_refusal(file) == (
        f"'{file}' is an ONNX model without a ctonnx spec, so its classes and its preprocessing are unknown; "
        "make one with: ctonnx export RUN"
    )


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (("image",), OUTPUT_NAMES),
        (("pixels", "mask"), OUTPUT_NAMES),
        (("pixels",), ("probabilities",)),
        (("pixels",), ("logits", "probabilities", "heatmap")),
    ],
)
def test_model_with_a_spec_but_other_inputs_or_outputs_is_refused(
    inputs: tuple[str, ...], outputs: tuple[str, ...], tmp_path: Path
) -> None:
    file = means(tmp_path / "odd.onnx", SPEC.to_json(), inputs, outputs)
    assert spec_refusal(file) == (
        f"'{file}' carries a ctonnx spec, but maps {list(inputs)} to {list(outputs)}, where ['pixels'] to "
        "['probabilities', 'logits', 'heatmap'] was expected; export the model again"
    )


def test_model_with_a_damaged_spec_is_refused(tmp_path: Path) -> None:
    file = means(tmp_path / "odd.onnx", "{}")
    assert spec_refusal(file) == "the model's spec cannot be read ('schema_version'); export the model again"


def test_onnxruntime_keeps_no_device_id_and_sends_nothing(model: Path, tmp_path: Path) -> None:
    """Its telemetry is on by default and leaves files in the home folder; ctonnx turns it off for its processes."""
    program = f"from ctonnx import Predictor; Predictor({str(model)!r}).close()"
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**env, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    )
    assert list(tmp_path.iterdir()) == []
