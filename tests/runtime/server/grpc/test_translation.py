"""Calls as bodies of requests over HTTP, and responses as messages."""

import json
import math
from typing import Any

import pytest

from ctonnx.server.grpc.messages import message
from ctonnx.server.grpc.translation import read_response, write_body
from ctonnx.server.transport.errors import RequestError


def request(*, raw: bytes | None = None, typed: list[int] | None = None) -> Any:
    made = message("ModelInferRequest")(model_name="m", id="7")
    tensor = made.inputs.add(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3])
    if raw is not None:
        made.raw_input_contents.append(raw)
    if typed is not None:
        tensor.contents.uint_contents.extend(typed)
    return made


@pytest.mark.parametrize("made", [request(raw=b"\x01\x02\xff"), request(typed=[1, 2, 255])])
def test_body_has_the_pixels_after_the_json(made: Any) -> None:
    made.parameters["timeout"].int64_param = 5
    made.outputs.add(name="logits")
    body, head = write_body(made)
    document = json.loads(body[:head])
    assert body[head:] == b"\x01\x02\xff"
    assert document["id"] == "7"
    assert document["parameters"] == {"timeout": 5, "binary_data_output": True}
    assert document["inputs"] == [
        {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "parameters": {"binary_data_size": 3}}
    ]
    assert document["outputs"] == [{"name": "logits", "parameters": {"binary_data": True}}]


def with_float_contents() -> Any:
    made = request()
    made.inputs[0].contents.fp32_contents.append(1.0)
    return made


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (request(), "expected the input's data in uint_contents or in raw_input_contents, found neither"),
        (with_float_contents(), "or in raw_input_contents, found fp32_contents"),
        (request(raw=b"abc", typed=[1, 2, 3]), "expected either contents or raw_input_contents, found both"),
        (request(typed=[1, 2, 256]), "expected uint_contents from 0 to 255, found values up to 256"),
    ],
)
def test_data_in_other_fields_is_rejected(made: Any, expected: str) -> None:
    with pytest.raises(RequestError) as error:
        write_body(made)
    assert error.value.status == 400
    assert expected in error.value.message


def test_contents_that_do_not_fit_the_inputs_are_rejected() -> None:
    made = request(raw=b"abc")
    made.raw_input_contents.append(b"more")
    with pytest.raises(RequestError, match="one raw_input_contents for each input, found 2 for 1"):
        write_body(made)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_parameter_that_json_does_not_have_is_rejected(value: float) -> None:
    made = request(raw=b"abc")
    made.parameters["x"].double_param = value
    with pytest.raises(RequestError, match="expected parameters that are numbers"):
        write_body(made)


@pytest.mark.parametrize("typed", [True, False])
def test_outputs_are_in_the_fields_of_the_requests_kind(typed: bool) -> None:
    head = json.dumps(
        {
            "model_name": "m",
            "model_version": "1",
            "outputs": [
                {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
                {"name": "b", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}},
            ],
        }
    ).encode()
    data = b"\x00\x00\x80\x3f\x00\x00\x00\x40", b"\x00\x00\x00\x00"
    response = read_response(head + b"".join(data), len(head), typed=typed)
    assert [(output.name, output.datatype, list(output.shape)) for output in response.outputs] == [
        ("a", "FP32", [1, 2]),
        ("b", "FP32", [1]),
    ]
    assert tuple(response.raw_output_contents) == (() if typed else data)
    assert [list(output.contents.fp32_contents) for output in response.outputs] == (
        [[1, 2], [0]] if typed else [[], []]
    )
