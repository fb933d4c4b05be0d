"""A session runs where it was asked to run or not at all, and what is no ctonnx model is refused with a sentence."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ctonnx import diagnosis
from ctonnx import providers as providers_module
from ctonnx import session as session_module
from ctonnx.errors import ModelError, NotEnoughMemory, ProviderError
from ctonnx.images import Preprocessing
from ctonnx.machine import architecture, available_cores
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


class Node:
    """A node as onnxruntime tells where it went."""

    def __init__(self, op_type: str) -> None:
        self.op_type = op_type


class Part:
    """Nodes that one provider has."""

    def __init__(self, ep_name: str, *operators: str) -> None:
        self.ep_name, self.operators = ep_name, operators

    def get_nodes(self) -> list[Node]:
        return [Node(operator) for operator in self.operators]


class Session:
    """A session on providers that this machine does not have."""

    def __init__(self, *providers: str, parts: tuple[Part, ...] = ()) -> None:
        self.providers, self.parts = list(providers), parts

    def get_providers(self) -> list[str]:
        return self.providers

    def get_provider_graph_assignment_info(self) -> tuple[Part, ...]:
        return self.parts


class Build:
    """A build of onnxruntime with other providers: what it was given, in its order, and the sessions that it makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sessions: Session | Exception) -> None:
        self.events: list[Any] = []
        self.sessions = list(sessions)
        self.real = onnxruntime.InferenceSession
        names = [package.execution_provider for package in providers_module.PROVIDERS.values()]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
        monkeypatch.setattr(onnxruntime, "preload_dlls", self.preload)
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.start)
        monkeypatch.setattr(onnxruntime, "set_default_logger_severity", lambda level: self.events.append(level))
        # The machine is asked why in test_diagnosis.py.
        monkeypatch.setattr(diagnosis, "why_it_does_not_run", lambda name, module, said: f"{name}: {said}")

    def preload(self) -> None:
        print("Failed to load libcublas")  # as onnxruntime does
        self.events.append("preload")

    def start(self, file: Any, options: Any, providers: list[tuple[str, dict[str, str]]], **others: Any) -> Any:
        if [name for name, _ in providers] == ["CPUExecutionProvider"]:
            self.events.append("cpu")
            return self.real(file, options, providers, **others)
        self.events.append((options, providers))
        made = self.sessions.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    @property
    def given(self) -> tuple[Any, list[tuple[str, dict[str, str]]]]:
        return next(event for event in self.events if isinstance(event, tuple))


def test_cuda_is_refused_where_onnxruntime_has_none(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "installed_builds", lambda: {"onnxruntime": "1.31.1"})
    monkeypatch.setattr(diagnosis, "has_nvidia_device", lambda: None)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.raises(ProviderError) as caught:
        open_session(small, provider="cuda")
    assert str(caught.value) == (
        "the provider 'cuda' needs CUDAExecutionProvider, which the installed onnxruntime does not have "
        "(it has CPUExecutionProvider); the package onnxruntime-gpu has it: "
        'pip uninstall --yes onnxruntime, then pip install "ctonnx[gpu]"'
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino", "coreml", "directml"])
def test_provider_that_did_not_start_is_refused_though_onnxruntime_went_on(
    provider: Any, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build = Build(monkeypatch, Session("CPUExecutionProvider"))
    with pytest.raises(ProviderError, match=f"^{provider}: $"):
        open_session(small, provider=provider)
    assert build.events[-1] == 2
    assert build.events[-3] == 4
    assert capfd.readouterr() == ("", "")


def test_provider_that_raises_is_refused_with_its_words(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Build(monkeypatch, RuntimeError("CUDA failure 35"))
    with pytest.raises(ProviderError, match=r"^cuda: CUDA failure 35$"):
        open_session(small, provider="cuda")
    assert build.events[-1] == 2, "the log level was not set back"


def test_damaged_file_is_not_the_providers_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"text")
    Build(monkeypatch, RuntimeError("whatever the provider says"))
    with pytest.raises(ModelError, match="is not a whole ONNX model"):
        open_session(file, provider="cuda")


def test_tensorrt_that_leaves_all_to_cuda_is_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Build(monkeypatch, Session("CUDAExecutionProvider", "CPUExecutionProvider"))
    with pytest.raises(ProviderError, match=r"^tensorrt: $"):
        open_session(small, provider="tensorrt")


def test_convolutions_that_a_provider_leaves_to_the_cpu_are_refused(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = (
        Part("CoreMLExecutionProvider", "Conv", "Relu"),
        Part("CPUExecutionProvider", "Conv", "QLinearConv", "Add"),
    )
    Build(monkeypatch, Session("CoreMLExecutionProvider", "CPUExecutionProvider", parts=parts))
    with pytest.raises(ProviderError) as caught:
        open_session(small, provider="coreml")
    assert str(caught.value) == (
        "the provider 'coreml' started, and left 2 of the model's 3 convolutions to the CPU; take a model of another "
        "precision, or run on --provider cpu"
    )


def test_small_nodes_may_stay_on_the_cpu_and_convolutions_go_from_tensorrt_to_cuda(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parts = (
        Part("TensorrtExecutionProvider", "Conv"),
        Part("CUDAExecutionProvider", "Conv"),
        Part("CPUExecutionProvider", "Reshape"),
    )
    made = Session("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider", parts=parts)
    build = Build(monkeypatch, made)
    assert open_session(small, provider="tensorrt") is made
    assert [name for name, _ in build.given[1]] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


def test_onnxruntime_tells_where_a_convolution_went() -> None:
    """The names that the check above looks for are those of the real onnxruntime."""
    options = session_module._options("openvino", 1, optimize=True, spinning=True)
    made = onnxruntime.InferenceSession(quantized().SerializeToString(), options, ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="left 1 of the model's 1 convolutions to the CPU"):
        session_module._refuse_convolutions_on_the_cpu(made, "openvino")


def test_libraries_of_cuda_are_loaded_before_the_session(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Build(monkeypatch, Session("CUDAExecutionProvider", "CPUExecutionProvider"))
    open_session(small, provider="cuda")
    assert [event if not isinstance(event, tuple) else "start" for event in build.events] == ["preload", 4, "start", 2]


def test_directml_gets_the_two_settings_that_it_needs(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Build(monkeypatch, Session("DmlExecutionProvider"))
    open_session(small, provider="directml")
    options = build.given[0]
    assert options.enable_mem_pattern is False
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL


@pytest.mark.parametrize(
    ("processor", "vnni", "entry"),
    [("x86", True, None), ("x86", False, "1"), ("x86", None, "1"), ("arm", False, None)],
)
def test_x86_that_is_not_known_to_have_vnni_gets_kernels_that_do_not_saturate(
    processor: str, vnni: bool | None, entry: str | None, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "architecture", lambda: processor)
    monkeypatch.setattr(session_module, "has_vnni", lambda: vnni)
    options = open_session(small).get_session_options()
    if entry is None:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == entry


@pytest.mark.skipif(architecture() != "x86", reason="the entry is for x86")
@pytest.mark.parametrize(("vnni", "weights"), [(True, TensorProto.INT8), (False, TensorProto.UINT8)])
def test_kernels_that_saturate_are_taken_where_the_processor_has_vnni_alone(
    vnni: bool, weights: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is onnxruntime's own, and moves the weights from int8 to uint8, whose kernels do not saturate."""
    monkeypatch.setattr(session_module, "has_vnni", lambda: vnni)
    options = session_module._options("cpu", 1, optimize=True, spinning=True)
    options.optimized_model_filepath = os.fspath(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(quantized().SerializeToString(), options, ["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx")
    assert "QLinearConv" in [node.op_type for node in optimized.graph.node]
    assert [weight.data_type for weight in optimized.graph.initializer if len(weight.dims) == 4] == [weights]


def quantized() -> onnx.ModelProto:
    """Returns a convolution between quantized pixels and 8-bit weights, as `ctonnx export --target x86` writes it."""
    weights = np.random.default_rng(0).integers(-127, 128, (8, 64, 3, 3)).astype(np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["pixels", "one", "zero"], ["floats"]),
            helper.make_node("DequantizeLinear", ["weights", "one", "weights_zero"], ["kernel"]),
            helper.make_node("Conv", ["floats", "kernel"], ["sums"]),
            helper.make_node("QuantizeLinear", ["sums", "one", "zero"], ["answers"]),
        ],
        "graph",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 64, 8, 8])],
        [helper.make_tensor_value_info("answers", TensorProto.UINT8, [1, 8, 6, 6])],
        [
            helper.make_tensor("one", TensorProto.FLOAT, [], [1]),
            helper.make_tensor("zero", TensorProto.UINT8, [], [0]),
            numpy_helper.from_array(weights, "weights"),
            helper.make_tensor("weights_zero", TensorProto.INT8, [], [0]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_session_does_not_go_on_with_another_provider_when_its_own_fails(small: Path) -> None:
    """Onnxruntime's `run` would make a new session on the CPU and say so on stdout alone."""
    assert open_session(small)._enable_fallback is False


@pytest.mark.parametrize("provider", ["tpu", "CUDA", "", None])
def test_provider_that_does_not_exist_is_refused(small: Path, provider: Any) -> None:
    with pytest.raises(
        ProviderError,
        match=f"^expected a provider of cpu, cuda, tensorrt, openvino, coreml, directml, found {provider!r}$",
    ):
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


@pytest.mark.parametrize(("spinning", "found"), [(True, None), (False, "0")])
def test_threads_that_wait_spin_or_sleep(small: Path, spinning: bool, found: str | None) -> None:
    options = open_session(small, spinning=spinning).get_session_options()
    name = "session.intra_op.allow_spinning"
    if found is None:
        with pytest.raises(RuntimeError, match="does not have configuration"):
            options.get_session_config_entry(name)
    else:
        assert options.get_session_config_entry(name) == found


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


@pytest.mark.parametrize("raised", [MemoryError("std::bad_alloc"), RuntimeError("Exception: std::bad_alloc")])
def test_model_that_there_is_no_memory_for_is_not_said_to_be_damaged(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise raised

    (tmp_path / "model.onnx").write_bytes(b"a model")
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(
        NotEnoughMemory, match=r"^not enough memory to load '[^']+' \([^)]*std::bad_alloc\); take fewer"
    ):
        open_session(tmp_path / "model.onnx")
