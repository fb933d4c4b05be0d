"""A provider that is missing, does not start or leaves its work to the CPU is rejected; others get their settings."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from tests.runtime.inference.test_session import SPEC, means, quantized

from ctonnx.errors import ModelError, ProviderError
from ctonnx.inference import diagnosis
from ctonnx.inference import providers as providers_module
from ctonnx.inference import session as session_module
from ctonnx.inference.session import open_session


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A model of a few hundred bytes with all the parts of a ctonnx model."""
    return means(tmp_path / "small.onnx", SPEC.to_json())


class Node:
    """A node in onnxruntime's report of the assigned providers."""

    def __init__(self, op_type: str) -> None:
        self.op_type = op_type


class Part:
    """Nodes of one provider."""

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
    """A build of onnxruntime with other providers, which records its calls in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sessions: Session | Exception) -> None:
        self.events: list[Any] = []
        self.sessions = list(sessions)
        self.real = onnxruntime.InferenceSession
        names = [package.execution_provider for package in providers_module.PROVIDERS.values()]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
        monkeypatch.setattr(onnxruntime, "preload_dlls", self.preload)
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.start)
        monkeypatch.setattr(onnxruntime, "set_default_logger_severity", lambda level: self.events.append(level))
        # test_diagnosis.py tests the reasons.
        monkeypatch.setattr(diagnosis, "explain_failure", lambda name, module, message: f"{name}: {message}")

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


def test_cuda_is_rejected_if_onnxruntime_does_not_have_it(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_provider_that_did_not_start_is_rejected_although_onnxruntime_continued(
    provider: Any, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build = Build(monkeypatch, Session("CPUExecutionProvider"))
    with pytest.raises(ProviderError, match=f"^{provider}: $"):
        open_session(small, provider=provider)
    assert build.events[-1] == 2
    assert build.events[-3] == 4
    assert capfd.readouterr() == ("", "")


def test_provider_that_raises_is_rejected_with_its_message(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_tensorrt_that_leaves_all_to_cuda_is_rejected(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Build(monkeypatch, Session("CUDAExecutionProvider", "CPUExecutionProvider"))
    with pytest.raises(ProviderError, match=r"^tensorrt: $"):
        open_session(small, provider="tensorrt")


def test_convolutions_that_a_provider_leaves_to_the_cpu_are_rejected(
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
        "the provider 'coreml' started, and left 2 of the model's 3 convolutions to the CPU; use a model of another "
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


@pytest.mark.parametrize(("own", "on_cuda"), [(0, 53), (26, 27)])
def test_tensorrt_that_leaves_most_convolutions_to_cuda_is_rejected(
    own: int, on_cuda: int, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    parts = (
        Part("TensorrtExecutionProvider", "Relu", *["Conv"] * own),
        Part("CUDAExecutionProvider", *["FusedConv"] * on_cuda),
    )
    Build(monkeypatch, Session("TensorrtExecutionProvider", "CUDAExecutionProvider", parts=parts))
    with pytest.raises(ProviderError) as caught:
        open_session(small, provider="tensorrt")
    assert str(caught.value) == (
        f"the provider 'tensorrt' started, and left {on_cuda} of the model's 53 convolutions to CUDA; use a model of "
        "another precision, or run on --provider cuda"
    )


def test_onnxruntime_reports_the_provider_of_a_convolution() -> None:
    """The check above uses the names of the real onnxruntime."""
    options = session_module._options("openvino", 1, optimize=True, spinning=True)
    made = onnxruntime.InferenceSession(quantized().SerializeToString(), options, ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="left 1 of the model's 1 convolutions to the CPU"):
        session_module._check_convolutions(made, "openvino")


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


@pytest.mark.parametrize("provider", ["tpu", "CUDA", "openvino:tpu", "", None])
def test_provider_that_does_not_exist_is_rejected(small: Path, provider: Any) -> None:
    with pytest.raises(
        ProviderError,
        match="^expected a provider of cpu, cuda, tensorrt, tensorrt-rtx, openvino, openvino:gpu, openvino:npu, "
        f"coreml, mlx, directml, qnn, webgpu, found {provider!r}$",
    ):
        open_session(small, provider=provider)
