"""A session runs only on the requested provider, and files that are not ctonnx models are rejected with a message."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import ModelError, NotEnoughMemory
from ctonnx.images import Preprocessing
from ctonnx.inference import session as session_module
from ctonnx.inference.session import open_session, read_spec
from ctonnx.parity.outputs import OUTPUT_NAMES
from ctonnx.system.cpu import architecture, available_cores

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
    """Writes a model whose outputs are the channel means of its first input; the heatmap has one pixel."""
    nodes = [
        helper.make_node("Cast", [inputs[0]], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "axes"], ["means"], keepdims=0),
    ]
    shapes: dict[str, list[str | int]] = {"heatmap": ["batch", 3, 1, 1]}
    for name in outputs:
        source = ["means", "places"] if name in shapes else ["means"]
        nodes.append(helper.make_node("Unsqueeze" if name in shapes else "Identity", source, [name]))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, ["batch", 32, 32, 3]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes.get(name, ["batch", 3])) for name in outputs],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("places", TensorProto.INT64, [2], [2, 3]),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if spec is not None:
        helper.set_model_props(made, {METADATA_KEY: spec})
    onnx.save(made, file)
    return file


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A model of a few hundred bytes with all the parts of a ctonnx model."""
    return means(tmp_path / "small.onnx", SPEC.to_json())


# --- providers and threads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimize", [True, False])
def test_session_runs_only_on_the_cpu(small: Path, optimize: bool) -> None:
    assert open_session(small, optimize=optimize).get_providers() == ["CPUExecutionProvider"]


def test_session_is_opened_from_bytes_too(small: Path) -> None:
    assert read_spec(open_session(small.read_bytes()), "bytes") == SPEC


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
def test_kernels_that_saturate_are_used_only_with_vnni(
    vnni: bool, weights: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry of onnxruntime moves the weights from int8 to uint8, whose kernels do not saturate."""
    monkeypatch.setattr(session_module, "has_vnni", lambda: vnni)
    options = session_module._options("cpu", 1, optimize=True, spinning=True)
    options.optimized_model_filepath = os.fspath(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(quantized().SerializeToString(), options, ["CPUExecutionProvider"])
    optimized = onnx.load(tmp_path / "optimized.onnx")
    assert "QLinearConv" in [node.op_type for node in optimized.graph.node]
    assert [weight.data_type for weight in optimized.graph.initializer if len(weight.dims) == 4] == [weights]


def quantized() -> onnx.ModelProto:
    """Returns a convolution of quantized pixels and 8-bit weights, as written by `ctonnx export --target x86`."""
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


def test_session_does_not_continue_on_another_provider_if_its_own_fails(small: Path) -> None:
    """Onnxruntime's `run` would create a new session on the CPU and report it only on stdout."""
    assert open_session(small)._enable_fallback is False


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_threads_than_one_are_rejected(small: Path, threads: int) -> None:
    with pytest.raises(ValueError, match=f"^expected at least 1 thread, found {threads}$"):
        open_session(small, threads=threads)


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (3, 3), (None, available_cores())])
def test_session_gets_its_threads(small: Path, threads: int | None, expected: int) -> None:
    assert open_session(small, threads=threads).get_session_options().intra_op_num_threads == expected


@pytest.mark.parametrize(
    ("spinning", "version", "entries"),
    [
        (True, "1.31.0", {}),
        (False, "1.31.0", {"session.intra_op.spin_duration_us": "50"}),
        (False, "1.26.0", {"session.intra_op.spin_duration_us": "50"}),
        (False, "1.25.1", {"session.intra_op.allow_spinning": "0"}),
    ],
)
def test_idle_threads_spin_or_sleep_soon(
    small: Path, monkeypatch: pytest.MonkeyPatch, spinning: bool, version: str, entries: dict[str, str]
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    options = open_session(small, spinning=spinning).get_session_options()
    found = {}
    for name in ("session.intra_op.spin_duration_us", "session.intra_op.allow_spinning"):
        with suppress(RuntimeError):  # it has none
            found[name] = options.get_session_config_entry(name)
    assert found == entries


def test_threads_that_sleep_soon_leave_the_cores_to_others(small: Path) -> None:
    def idle_seconds(*, spinning: bool) -> float:
        session = open_session(small, threads=4, spinning=spinning)
        shape = [side if isinstance(side, int) else 1 for side in session.get_inputs()[0].shape]
        session.run(None, {session.get_inputs()[0].name: np.zeros(shape, np.uint8)})
        start = time.process_time()
        time.sleep(0.1)
        return time.process_time() - start

    assert idle_seconds(spinning=False) < 0.5 * idle_seconds(spinning=True)


# --- files that are not models ---------------------------------------------------------------------------------------


def error_of(model: Path | bytes) -> str:
    with pytest.raises(ModelError) as caught:
        open_session(model)
    return str(caught.value)


@pytest.mark.parametrize("folder", [True, False])
def test_missing_file_is_rejected(folder: bool, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    if folder:
        file.mkdir()
    assert error_of(file) == f"expected an .onnx file, found no file at '{file}'; list them with: ls runs/*/export"


def test_empty_file_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.touch()
    assert error_of(file) == f"expected an .onnx file, found an empty file at '{file}'; export the model again"


def assert_not_whole(found: str, name: str) -> None:
    """Checks the message around the error of onnxruntime, which depends on its version, or of the graph's reader."""
    assert re.fullmatch(
        rf"{re.escape(name)} is not a whole ONNX model \("
        r"(onnxruntime: [^\n]+|expected an ONNX file, found other bytes or an end before the end|it has no graph)"
        r"\); "
        "if it was copied or downloaded, do that again, else export it again",
        found,
    )


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_truncated_model_is_rejected(kept: int, small: Path) -> None:
    small.write_bytes(small.read_bytes()[:kept])
    assert_not_whole(error_of(small), f"'{small}'")


def test_truncated_export_is_rejected(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with model.open("rb") as whole:
        file.write_bytes(whole.read(1_000_000))
    assert_not_whole(error_of(file), f"'{file}'")


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"\x89PNG\r\n\x1a\n", bytes(100)])
def test_file_of_another_kind_is_rejected(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    assert_not_whole(error_of(file), f"'{file}'")


@pytest.mark.parametrize("content", [b"", b"text"])
def test_bytes_of_another_kind_are_rejected(content: bytes) -> None:
    assert_not_whole(error_of(content), "the model")


@pytest.mark.parametrize("raised", [MemoryError("std::bad_alloc"), RuntimeError("Exception: std::bad_alloc")])
def test_model_without_enough_memory_is_not_reported_as_damaged(
    raised: Exception, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(NotEnoughMemory, match=r"^not enough memory to load '[^']+' \([^)]*std::bad_alloc\); use fewer"):
        open_session(small)
