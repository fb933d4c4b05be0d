"""Messages are read as by protobuf itself, and other bytes are an error."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from ctonnx.artifacts.onnx_file.protobuf import Message, message

MODEL = onnx.ModelProto(
    ir_version=300,
    producer_name="someone",
    opset_import=[helper.make_opsetid("", 20)],
    metadata_props=[{"key": "k" * 200, "value": "v"}],
)


def test_fields_are_those_that_protobuf_wrote(tmp_path: Path) -> None:
    content = MODEL.SerializeToString()
    (tmp_path / "model").write_bytes(content)
    for source in (content, tmp_path / "model"):
        with message(source) as whole:
            fields = list(whole)
            assert [field.number for field in fields] == [1, 2, 8, 14]
            assert (fields[0].value, whole.text(fields[1])) == (300, "someone")
            assert [field.begin for field in fields[1:]] == [field.stop for field in fields[:-1]]
            assert (fields[0].begin, fields[-1].stop) == (0, len(content))
            entry = whole.inner(fields[3])
            assert [entry.text(field) for field in entry] == ["k" * 200, "v"]
            assert [field.number for field in whole.only(2, 14)] == [2, 14]


@pytest.mark.parametrize("values", [[1, 300, -1, -(2**63), 2**63 - 1], []])
def test_whole_numbers_have_their_signs_packed_or_not(values: list[int]) -> None:
    attribute = onnx.AttributeProto(ints=values, i=-5)
    with message(attribute.SerializeToString()) as whole:
        found = {3: [], 8: []}  # type: dict[int, list[int]]
        for field in whole:
            found[field.number] += whole.numbers(field)
    assert found == {3: [-5], 8: values}
    packed = onnx.TensorProto(int64_data=values).SerializeToString()
    with message(packed) as whole:
        assert [value for field in whole for value in whole.numbers(field)] == values


def test_large_inner_message_is_read_in_pieces(tmp_path: Path) -> None:
    graph = onnx.GraphProto(
        name="n", initializer=[onnx.TensorProto(name=f"w{row}", raw_data=bytes(50_000)) for row in range(20)]
    )
    (tmp_path / "model").write_bytes(onnx.ModelProto(graph=graph).SerializeToString())
    with message(tmp_path / "model") as whole:
        (field,) = whole
        inner = whole.inner(field)
        tensors = [inner.inner(item) for item in inner.only(5)]
        names = [tensor.text(part) for tensor in tensors for part in tensor.only(8)]
    assert names == [f"w{row}" for row in range(20)]


@pytest.mark.parametrize(
    "content", [b"text", b"\x80" * 100, b"\x0a\x05abc", b"\x0b\x0c", b"\x09\0", MODEL.SerializeToString()[:-1]]
)
def test_other_bytes_are_an_error(content: bytes) -> None:
    with (
        message(content) as whole,
        pytest.raises(ValueError, match=r"^expected an ONNX file, found other bytes or an end before the end$"),
    ):
        list(whole)


def test_integer_is_not_a_message() -> None:
    with message(b"\x08\x01") as whole:
        (field,) = whole
        with pytest.raises(ValueError, match=r"^expected an ONNX file"):
            whole.inner(field)


def test_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"\x0a\x02hi")
    with (tmp_path / "model").open("rb") as file, pytest.raises(ValueError, match=r"^expected an ONNX file"):
        list(Message(file, 0, 100))
