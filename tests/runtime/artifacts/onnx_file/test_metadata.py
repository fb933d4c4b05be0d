"""The metadata of an ONNX file are read without a library, and other files are an error."""

import os
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from ctonnx.artifacts.onnx_file.metadata import read_metadata, read_spec_facts


def make(properties: dict[str, str], weights: int = 10) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [weights])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [weights])],
        [helper.make_tensor("w", TensorProto.FLOAT, [weights], [1.0] * weights)],
    )
    model = helper.make_model(graph, producer_name="someone", model_version=7)
    helper.set_model_props(model, properties)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("properties", [{}, {"a": ""}, {"a": "b" * 300, "Größe": "ü", "": "empty"}])
@pytest.mark.parametrize("weights", [10, 100_000])
def test_metadata_are_those_that_onnx_wrote(properties: dict[str, str], weights: int, tmp_path: Path) -> None:
    content = make(properties, weights)
    (tmp_path / "model.onnx").write_bytes(content)
    assert read_metadata(content) == properties
    assert read_metadata(tmp_path / "model.onnx") == properties


def test_spec_of_an_export_is_read(model: Path) -> None:
    facts = read_spec_facts(model)
    assert (facts["precision"], facts["quantization"], facts["name"]) == ("fp32", None, "tiny")


def test_weights_are_skipped(tmp_path: Path) -> None:
    """The file has a terabyte of weights, all zero, which take no disk space."""
    weights = 1 << 40
    field = bytes([7 << 3 | 2]) + b"".join(
        bytes([(weights >> shift & 0x7F) | (0x80 if weights >> shift + 7 else 0)]) for shift in range(0, 42, 7)
    )
    properties = onnx.ModelProto(metadata_props=[{"key": "k", "value": "v"}]).SerializeToString()
    file = tmp_path / "large.onnx"
    try:
        with file.open("wb") as opened:
            opened.write(field)
            opened.seek(weights, os.SEEK_CUR)
            opened.write(properties)
    except OSError:
        pytest.skip("this disk takes no file with holes as large as that")
    assert file.stat().st_size > weights
    assert read_metadata(file) == {"k": "v"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        bytes(100),
        b"\x80" * 100,
        make({"ctonnx.spec": '{"precision": "int8"}'})[:-3],
        make({}),
        make({"ctonnx.spec": "{"}),
        make({"ctonnx.spec": "[1]"}),
        b"\x72\x04\x0a\x02\xff\xfe",
    ],
)
def test_file_without_a_spec_has_no_facts(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert read_spec_facts(tmp_path / "model.onnx") == {}


def test_missing_file_has_no_facts(tmp_path: Path) -> None:
    assert read_spec_facts(tmp_path / "none.onnx") == {}


@pytest.mark.parametrize("content", [b"text", b"\x80" * 100, make({"a": "b"})[:-3]])
def test_other_bytes_are_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^expected an ONNX file, found other bytes or an end before the end$"):
        read_metadata(content)


def test_fields_of_every_type_are_skipped() -> None:
    fields = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1d" + bytes(4) + b"\x22\x02hi"
    assert read_metadata(fields + onnx.ModelProto(metadata_props=[{"key": "k", "value": "v"}]).SerializeToString()) == {
        "k": "v"
    }
