"""The spec of a session's model is read and compared with its inputs and outputs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from onnx import TensorProto
from tests.runtime.inference.test_session import SPEC, means

from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY
from ctonnx.errors import ModelError
from ctonnx.images import Preprocessing
from ctonnx.inference.session import open_session, read_spec
from ctonnx.parity.outputs import OUTPUT_NAMES

TYPES = {TensorProto.FLOAT: "tensor(float)", TensorProto.DOUBLE: "tensor(double)"}


class Declared(NamedTuple):
    """Description of an input or output of a session."""

    name: str
    type: str
    shape: list[str | int]


DECLARED = (
    Declared("pixels", "tensor(uint8)", ["batch", 32, 32, 3]),
    Declared("probabilities", "tensor(float)", ["batch", 3]),
    Declared("logits", "tensor(float)", ["batch", 3]),
    Declared("heatmap", "tensor(float)", ["batch", 3, 1, 1]),
)


class Declaring:
    """A session with a chosen spec, inputs and outputs."""

    def __init__(self, spec: str, inputs: list[Declared], outputs: list[Declared]) -> None:
        self.custom_metadata_map = {METADATA_KEY: spec}
        self.get_modelmeta = lambda: self
        self.get_inputs = lambda: inputs
        self.get_outputs = lambda: outputs


def test_spec_of_an_export_is_read(model: Path) -> None:
    spec = read_spec(open_session(model, optimize=False), str(model))
    assert spec.name == "tiny"
    assert spec.classes == ("cavitating", "large central", "normal", "small peripheral")
    assert spec.preprocessing == Preprocessing(size=64)
    assert (spec.precision, spec.synthetic) == ("fp32", True)
    assert spec.operating_point is not None
    assert spec.operating_point.positive == ("cavitating", "large central", "small peripheral")


def test_export_maps_pixels_to_the_four_outputs_in_their_order(model: Path) -> None:
    opened = open_session(model, optimize=False)
    assert [(item.name, item.type, item.shape) for item in (*opened.get_inputs(), *opened.get_outputs())] == [
        ("pixels", "tensor(uint8)", ["batch", 64, 64, 3]),
        ("probabilities", "tensor(float)", ["batch", 4]),
        ("logits", "tensor(float)", ["batch", 4]),
        ("heatmap", "tensor(float)", ["batch", 4, 2, 2]),
        ("novelty", "tensor(float)", ["batch"]),
    ]


def spec_error(file: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_spec(open_session(file), str(file))
    return str(caught.value)


def test_model_without_a_spec_is_rejected(tmp_path: Path) -> None:
    file = means(tmp_path / "foreign.onnx")
    assert spec_error(file) == (
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
def test_model_with_a_spec_but_other_inputs_or_outputs_is_rejected(
    inputs: tuple[str, ...], outputs: tuple[str, ...], tmp_path: Path
) -> None:
    file = means(tmp_path / "odd.onnx", SPEC.to_json(), inputs, outputs)
    assert spec_error(file) == (
        f"'{file}' has a ctonnx spec, but maps {list(inputs)} to {list(outputs)}, where ['pixels'] to "
        "['probabilities', 'logits', 'heatmap'] was expected; export the model again"
    )


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "found"),
    [
        ("heatmap", TensorProto.FLOAT, ["batch", 3, 7, 7], "tensor(float) ['batch', 3, 7, 7]"),
        ("heatmap", TensorProto.FLOAT, ["batch", 3], "tensor(float) ['batch', 3]"),
        ("logits", TensorProto.FLOAT, ["batch", 4], "tensor(float) ['batch', 4]"),
        ("logits", TensorProto.DOUBLE, ["batch", 3], "tensor(double) ['batch', 3]"),
        ("probabilities", TensorProto.FLOAT, [1, 3], "tensor(float) [1, 3]"),
        ("pixels", TensorProto.FLOAT, ["batch", 32, 32, 3], "tensor(float) ['batch', 32, 32, 3]"),
    ],
)
def test_model_whose_graph_has_other_types_or_shapes_than_its_spec_is_rejected(
    name: str, dtype: TensorProto.DataType, shape: list[str | int], found: str
) -> None:
    declared = {item.name: item for item in DECLARED} | {name: Declared(name, TYPES[dtype], shape)}
    session = Declaring(SPEC.to_json(), [declared["pixels"]], [declared[name] for name in OUTPUT_NAMES])
    with pytest.raises(ModelError) as caught:
        read_spec(session, "odd.onnx")
    assert f"its graph's '{name}' is {found}, where " in str(caught.value)


def test_model_with_a_damaged_spec_is_rejected(tmp_path: Path) -> None:
    file = means(tmp_path / "odd.onnx", "{}")
    assert spec_error(file) == (
        "the model's spec cannot be read (expected a whole number at 'schema_version', found nothing); "
        "export the model again"
    )


def test_onnxruntime_keeps_no_device_id_and_sends_nothing(model: Path, tmp_path: Path) -> None:
    """Its telemetry is on by default and writes files to the home folder; ctonnx disables it for its processes."""
    program = f"from ctonnx import Predictor; Predictor({str(model)!r}).close()"
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**env, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    )
    assert list(tmp_path.iterdir()) == []
