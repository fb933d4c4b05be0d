"""Requests and responses of the Open Inference Protocol, as data."""

import json
from typing import Any

import numpy as np
import pytest
from tests.runtime.artifacts.specs import FULL, SMALL

from ctonnx.parity.outputs import NOVELTY, OUTPUT_NAMES, Outputs
from ctonnx.server.api.open_inference import (
    InferRequest,
    model_metadata,
    output_shapes,
    read_request,
    write_response,
)
from ctonnx.server.transport.errors import RequestError

SIZE = 2
PIXELS = np.arange(12, dtype=np.uint8).reshape(1, SIZE, SIZE, 3)
TENSOR: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": [1, SIZE, SIZE, 3]}
AS_JSON: dict[str, Any] = {**TENSOR, "data": PIXELS.ravel().tolist()}
AS_BYTES: dict[str, Any] = {**TENSOR, "parameters": {"binary_data_size": 12}}


def read(document: object, binary: bytes = b"", header: str | None = None) -> InferRequest:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    header = str(len(head)) if binary and header is None else header
    return read_request(head + binary, header, size=SIZE, max_images=2)


def error_of(document: object, binary: bytes = b"", header: str | None = None) -> str:
    with pytest.raises(RequestError) as error:
        read(document, binary, header)
    assert error.value.status == 400
    return error.value.message


@pytest.mark.parametrize("data", [PIXELS.ravel().tolist(), PIXELS.tolist()], ids=["flat", "nested"])
def test_json_tensor_is_read(data: object) -> None:
    request = read({"inputs": [{**TENSOR, "data": data}]})
    assert np.array_equal(request.pixels, PIXELS)
    assert request.pixels.dtype == np.uint8
    assert request.outputs == [(name, False) for name in OUTPUT_NAMES]
    assert (request.id, request.seconds) == ("", None)


def test_binary_tensor_is_read() -> None:
    request = read({"inputs": [AS_BYTES], "id": "7"}, PIXELS.tobytes())
    assert np.array_equal(request.pixels, PIXELS)
    assert request.id == "7"


def test_outputs_are_returned_as_requested() -> None:
    outputs = [{"name": "logits"}, {"name": "heatmap", "parameters": {"binary_data": False}}]
    document = {"inputs": [AS_JSON], "outputs": outputs, "parameters": {"binary_data_output": True}}
    assert read(document).outputs == [("logits", True), ("heatmap", False)]
    assert read({"inputs": [AS_JSON], "outputs": []}).outputs == [(name, False) for name in OUTPUT_NAMES]


def test_time_limit_of_a_client_is_in_microseconds_and_zero_is_none() -> None:
    assert read({"inputs": [AS_JSON], "parameters": {"timeout": 1_500_000}}).seconds == 1.5
    assert read({"inputs": [AS_JSON], "parameters": {"timeout": 0}}).seconds is None


def test_novelty_is_an_output_of_models_that_have_it() -> None:
    assert tuple(output_shapes(SMALL)) == OUTPUT_NAMES
    assert output_shapes(FULL)[NOVELTY] == [-1, 1]
    assert model_metadata("lungs", FULL)["outputs"][3] == {"name": "novelty", "datatype": "FP32", "shape": [-1, 1]}
    names = tuple(output_shapes(FULL))
    body = json.dumps({"inputs": [AS_JSON]}).encode()
    request = read_request(body, None, size=SIZE, max_images=2, names=names)
    assert [name for name, _ in request.outputs] == [*OUTPUT_NAMES, NOVELTY]
    zeros = np.zeros((1, 2), np.float32)
    outputs = Outputs(zeros, zeros, zeros, np.array([7.5], np.float32))
    content, _ = write_response("lungs", request, outputs)
    assert json.loads(content)["outputs"][3] == {
        "name": "novelty",
        "datatype": "FP32",
        "shape": [1, 1],
        "data": [7.5],
    }
    assert error_of({"inputs": [AS_JSON], "outputs": [{"name": NOVELTY}]}).startswith(
        "expected outputs of probabilities, logits, heatmap, each once, found"
    )


_JSON = "expected a JSON object, found "
_INPUTS = "expected one input, 'pixels', in a list of inputs, found "
_PIXELS = "expected an input 'pixels' of datatype UINT8, found "
_SHAPE = "expected a shape of [images, 2, 2, 3], found "
_DATA = "expected 12 whole numbers from 0 to 255 as data, flat or nested like the shape, found "
_OUTPUTS = "expected outputs of probabilities, logits, heatmap, each once, found "


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b"", f"{_JSON}invalid JSON (Expecting value: line 1 column 1 (char 0))"),
        (b'{"inputs": \xff', f"{_JSON}binary data; check Inference-Header-Content-Length"),
        (b"[" * 100_000, f"{_JSON}too deep nesting or too long a number"),
        (b"1" * 10_000, f"{_JSON}too deep nesting or too long a number"),
        ([], f"{_JSON}[]"),
        ({}, f"{_INPUTS}None"),
        ({"inputs": [AS_JSON, AS_JSON]}, f"{_INPUTS}2 inputs"),
        ({"inputs": {"0": 1}}, f"{_INPUTS}{{'0': 1}}"),
        ({"inputs": ["pixels"]}, f"{_INPUTS}['pixels']"),
        ({"inputs": [{**AS_JSON, "name": "x"}]}, f"{_PIXELS}'x' of 'UINT8'"),
        ({"inputs": [{**AS_JSON, "datatype": "FP32"}]}, f"{_PIXELS}'pixels' of 'FP32'"),
        ({"inputs": [{**AS_JSON, "shape": [SIZE, SIZE, 3]}]}, f"{_SHAPE}[2, 2, 3]"),
        ({"inputs": [{**AS_JSON, "shape": [1, 2, 2, 3.0]}]}, f"{_SHAPE}[1, 2, 2, 3.0]"),
        ({"inputs": [{**AS_JSON, "shape": [True, 2, 2, 3]}]}, f"{_SHAPE}[True, 2, 2, 3]"),
        ({"inputs": [{**AS_JSON, "shape": None}]}, f"{_SHAPE}None"),
        (
            {"inputs": [{**AS_JSON, "shape": [0, 2, 2, 3], "data": []}]},
            "expected 1 to 2 images, found 0",
        ),
        (
            {"inputs": [{**AS_JSON, "shape": [10**30, 2, 2, 3]}]},
            f"expected 1 to 2 images, found {10**30}; send them in several requests",
        ),
        ({"inputs": [TENSOR]}, "expected either data or a binary_data_size, found neither"),
        ({"inputs": [{**AS_JSON, **AS_BYTES}]}, "expected either data or a binary_data_size, found both"),
        ({"inputs": [AS_BYTES]}, "expected 12 bytes of binary data, found 0, and a binary_data_size of 12"),
        ({"inputs": [{**AS_JSON, "parameters": []}]}, "expected parameters to be a JSON object, found []"),
        ({"inputs": [{**AS_JSON, "data": [256] * 12}]}, f"{_DATA}values from 256 to 256"),
        ({"inputs": [{**AS_JSON, "data": [-1] * 12}]}, f"{_DATA}values from -1 to -1"),
        ({"inputs": [AS_JSON], "id": 7}, "expected a string as id, found 7"),
        ({"inputs": [AS_JSON], "parameters": 7}, "expected parameters to be a JSON object, found 7"),
        (
            {"inputs": [AS_JSON], "parameters": {"binary_data_output": 1}},
            "expected binary_data_output to be true or false, found 1",
        ),
        ({"inputs": [AS_JSON], "parameters": {"timeout": "1"}}, "expected a timeout in whole microseconds, found '1'"),
        (
            {"inputs": [AS_JSON], "outputs": {"name": "logits"}},
            "expected outputs to be a list of JSON objects, found {'name': 'logits'}",
        ),
        (
            {"inputs": [AS_JSON], "outputs": [{"name": "logits", "parameters": {"classification": 2}}]},
            "expected outputs without classification, which this server does not support",
        ),
        ({"inputs": [AS_JSON], "outputs": [{"name": "x"}]}, f"{_OUTPUTS}'x'"),
        ({"inputs": [AS_JSON], "outputs": [{}]}, f"{_OUTPUTS}None"),
        ({"inputs": [AS_JSON], "outputs": [{"name": ["logits"]}]}, f"{_OUTPUTS}['logits']"),
        ({"inputs": [AS_JSON], "outputs": [{"name": "logits"}] * 2}, f"{_OUTPUTS}'logits' twice"),
        *[
            ({"inputs": [{**AS_JSON, "data": data}]}, f"{_DATA}{found}")
            for data, found in (
                ([], "a shape of [0], not all whole numbers"),
                ([1] * 11, "a shape of [11]"),
                ([1.0] * 12, "a shape of [12], not all whole numbers"),
                (["1"] * 12, "a shape of [12], not all whole numbers"),
                ([True] * 12, "a shape of [12], not all whole numbers"),
                ([10**30] * 12, "a shape of [12], not all whole numbers"),
                ([[1] * 6] * 2, "a shape of [2, 6]"),
                ([[1], [2, 3]], "lists of different lengths, or a number too large"),
                (7, "a shape of []"),
            )
        ],
    ],
)
def test_invalid_request_is_rejected_with_the_value_found(document: object, sentence: str) -> None:
    assert error_of(document) == sentence


def test_values_from_a_client_are_shortened_in_messages() -> None:
    assert len(error_of({"inputs": [{**AS_JSON, "name": "x" * 100_000, "datatype": "\n" * 1000}]})) < 300
    assert len(error_of({"inputs": [{**AS_JSON, "shape": [[1] * 1000] * 1000}]})) < 300


@pytest.mark.parametrize("header", ["", "0", "-1", "x", "1.5", "٣", "99999", "9" * 1000])
def test_invalid_header_length_is_rejected(header: str) -> None:
    assert error_of({"inputs": [AS_JSON]}, header=header).startswith(
        "expected an Inference-Header-Content-Length from 1 to"
    )


@pytest.mark.parametrize("binary", [PIXELS.tobytes()[:-1], PIXELS.tobytes() + b"0"])
def test_binary_tensor_of_another_length_is_rejected(binary: bytes) -> None:
    found = f"found {len(binary)}, and a binary_data_size of 12"
    assert error_of({"inputs": [AS_BYTES]}, binary) == f"expected 12 bytes of binary data, {found}"


def test_bytes_without_a_tensor_are_rejected() -> None:
    assert error_of({"inputs": [AS_JSON]}, b"0").startswith("expected no bytes after the JSON")


OUTPUTS = Outputs(
    np.array([[0.25, 0.75]], np.float32),
    np.array([[1, 2]], np.float32),
    np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2),
)


def test_response_in_json() -> None:
    content, head = write_response("m", InferRequest(PIXELS, [("logits", False), ("heatmap", False)], "7"), OUTPUTS)
    assert head is None
    assert json.loads(content) == {
        "model_name": "m",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "logits", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]},
            {"name": "heatmap", "datatype": "FP32", "shape": [1, 2, 2, 2], "data": [float(n) for n in range(8)]},
        ],
    }


def test_response_with_bytes_after_the_json() -> None:
    request = InferRequest(PIXELS, [("probabilities", True), ("logits", False), ("heatmap", True)])
    content, head = write_response("m", request, OUTPUTS)
    assert head is not None
    document = json.loads(content[:head])
    assert [output.get("parameters") for output in document["outputs"]] == [
        {"binary_data_size": 8},
        None,
        {"binary_data_size": 32},
    ]
    assert "id" not in document
    assert content[head:] == OUTPUTS.probabilities.tobytes() + OUTPUTS.heatmap.tobytes()


def test_output_that_is_not_a_number_raises_an_error() -> None:
    wrong = Outputs(OUTPUTS.probabilities * np.float32(np.nan), OUTPUTS.logits, OUTPUTS.heatmap)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_response("m", InferRequest(PIXELS, [("probabilities", False)]), wrong)


def test_null_is_the_same_as_a_missing_field() -> None:
    plain = read({"inputs": [AS_JSON], "outputs": [{"name": "logits"}]})
    parameters = {"timeout": None, "binary_data_output": None, "sequence_id": None}
    for document in (
        {"id": None, "parameters": None},
        {"parameters": parameters},
        {"inputs": [{**AS_JSON, "parameters": None}]},
        {"inputs": [{**AS_JSON, "parameters": {"binary_data_size": None}}]},
        {"outputs": [{"name": "logits", "parameters": None}]},
        {"outputs": [{"name": "logits", "parameters": {"binary_data": None, "classification": None}}]},
    ):
        found = read({"inputs": [AS_JSON], "outputs": [{"name": "logits"}], **document})
        assert (found.outputs, found.id, found.seconds) == (plain.outputs, plain.id, plain.seconds)
        assert np.array_equal(found.pixels, plain.pixels)
    assert read({"inputs": [AS_JSON], "outputs": None}).outputs == [(name, False) for name in OUTPUT_NAMES]
    assert np.array_equal(read({"inputs": [{**AS_BYTES, "data": None}]}, PIXELS.tobytes()).pixels, PIXELS)
    usual = {"inputs": [AS_JSON], "outputs": [{"name": "logits", "parameters": {"binary_data": None}}]}
    assert read({**usual, "parameters": {"binary_data_output": True}}).outputs == [("logits", True)]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"inputs": None}, "expected one input, 'pixels', in a list of inputs, found None"),
        ({"inputs": [None]}, "expected one input, 'pixels', in a list of inputs, found [None]"),
        ({"inputs": [{**TENSOR, "data": None}]}, "expected either data or a binary_data_size, found neither"),
        (
            {"inputs": [{**AS_JSON, "name": None}]},
            "expected an input 'pixels' of datatype UINT8, found None of 'UINT8'",
        ),
        ({"inputs": [{**AS_JSON, "shape": None}]}, "expected a shape of [images, 2, 2, 3], found None"),
        ({"inputs": [AS_JSON], "outputs": [None]}, "expected outputs to be a list of JSON objects, found [None]"),
        (
            {"inputs": [AS_JSON], "outputs": [{"name": None}]},
            f"expected outputs of {', '.join(OUTPUT_NAMES)}, each once, found None",
        ),
    ],
)
def test_null_for_a_required_field_is_rejected(document: object, sentence: str) -> None:
    assert error_of(document) == sentence
