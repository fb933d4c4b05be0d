"""Requests and answers of the Open Inference Protocol, as data."""

import json
from typing import Any

import numpy as np
import pytest

from ctonnx.outputs import OUTPUT_NAMES, Outputs
from ctonnx.server.protocol import InferRequest, read_request, write_answer
from ctonnx.server.refusals import Refusal

SIZE = 2
PIXELS = np.arange(12, dtype=np.uint8).reshape(1, SIZE, SIZE, 3)
TENSOR: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": [1, SIZE, SIZE, 3]}
AS_JSON: dict[str, Any] = {**TENSOR, "data": PIXELS.ravel().tolist()}
AS_BYTES: dict[str, Any] = {**TENSOR, "parameters": {"binary_data_size": 12}}


WRONG_OUTPUTS: list[object] = [[{"name": "x"}], [{}], [{"name": ["logits"]}], [{"name": "logits"}] * 2]


def read(document: object, binary: bytes = b"", header: str | None = None) -> InferRequest:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    header = str(len(head)) if binary and header is None else header
    return read_request(head + binary, header, size=SIZE, most=2)


def refusal(document: object, binary: bytes = b"", header: str | None = None) -> str:
    with pytest.raises(Refusal) as refused:
        read(document, binary, header)
    assert refused.value.status == 400
    return refused.value.sentence


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


def test_outputs_come_as_they_are_asked_for() -> None:
    outputs = [{"name": "logits"}, {"name": "heatmap", "parameters": {"binary_data": False}}]
    document = {"inputs": [AS_JSON], "outputs": outputs, "parameters": {"binary_data_output": True}}
    assert read(document).outputs == [("logits", True), ("heatmap", False)]
    assert read({"inputs": [AS_JSON], "outputs": []}).outputs == [(name, False) for name in OUTPUT_NAMES]


def test_clients_time_limit_is_in_microseconds_and_none_where_it_is_zero() -> None:
    assert read({"inputs": [AS_JSON], "parameters": {"timeout": 1_500_000}}).seconds == 1.5
    assert read({"inputs": [AS_JSON], "parameters": {"timeout": 0}}).seconds is None


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b"", "expected a JSON object, found something else"),
        (b"{", "expected a JSON object, found something else"),
        (b"\xff\xfe", "expected a JSON object, found something else"),
        (b"[" * 100_000, "expected a JSON object, found something else"),
        (b"1" * 10_000, "expected a JSON object, found something else"),
        ([], "expected a JSON object, found something else"),
        ({}, "expected one input, 'pixels', in a list of inputs, found something else"),
        ({"inputs": [AS_JSON, AS_JSON]}, "expected one input, 'pixels', in a list of inputs, found something else"),
        ({"inputs": {"0": AS_JSON}}, "expected one input, 'pixels', in a list of inputs, found something else"),
        ({"inputs": ["pixels"]}, "expected one input, 'pixels', in a list of inputs, found something else"),
        ({"inputs": [{**AS_JSON, "name": "x"}]}, "expected an input 'pixels' of datatype UINT8, found another"),
        ({"inputs": [{**AS_JSON, "datatype": "FP32"}]}, "expected an input 'pixels' of datatype UINT8, found another"),
        ({"inputs": [{**AS_JSON, "shape": [SIZE, SIZE, 3]}]}, "expected a shape of [images, 2, 2, 3], found another"),
        ({"inputs": [{**AS_JSON, "shape": [1, 2, 2, 3.0]}]}, "expected a shape of [images, 2, 2, 3], found another"),
        ({"inputs": [{**AS_JSON, "shape": [True, 2, 2, 3]}]}, "expected a shape of [images, 2, 2, 3], found another"),
        ({"inputs": [{**AS_JSON, "shape": None}]}, "expected a shape of [images, 2, 2, 3], found another"),
        (
            {"inputs": [{**AS_JSON, "shape": [0, 2, 2, 3], "data": []}]},
            "expected 1 to 2 images, found another number; send them in several requests",
        ),
        (
            {"inputs": [{**AS_JSON, "shape": [10**30, 2, 2, 3]}]},
            "expected 1 to 2 images, found another number; send them in several requests",
        ),
        ({"inputs": [TENSOR]}, "expected either data or a binary_data_size, found both or neither"),
        ({"inputs": [{**AS_JSON, **AS_BYTES}]}, "expected either data or a binary_data_size, found both or neither"),
        ({"inputs": [AS_BYTES]}, "expected 12 bytes of binary data, found another number"),
        (
            {"inputs": [{**AS_JSON, "parameters": []}]},
            "expected parameters that are a JSON object, found something else",
        ),
        ({"inputs": [{**AS_JSON, "data": [256] * 12}]}, "expected numbers from 0 to 255, found others"),
        ({"inputs": [{**AS_JSON, "data": [-1] * 12}]}, "expected numbers from 0 to 255, found others"),
        ({"inputs": [AS_JSON], "id": 7}, "expected an id that is a text, found another type"),
        ({"inputs": [AS_JSON], "parameters": 7}, "expected parameters that are a JSON object, found something else"),
        (
            {"inputs": [AS_JSON], "parameters": {"binary_data_output": 1}},
            "expected binary_data_output to be true or false, found something else",
        ),
        (
            {"inputs": [AS_JSON], "parameters": {"timeout": "1"}},
            "expected a timeout in whole microseconds, found something else",
        ),
        (
            {"inputs": [AS_JSON], "outputs": {"name": "logits"}},
            "expected outputs that are a list of JSON objects, found something else",
        ),
        (
            {"inputs": [AS_JSON], "outputs": [{"name": "logits", "parameters": {"classification": 2}}]},
            "expected outputs without classification, which this server does not do",
        ),
        *[
            (
                {"inputs": [AS_JSON], "outputs": outputs},
                "expected outputs of probabilities, logits, heatmap, each once, found another or one twice",
            )
            for outputs in WRONG_OUTPUTS
        ],
        *[
            (
                {"inputs": [{**AS_JSON, "data": data}]},
                "expected 12 whole numbers as data, flat or nested as the shape, found something else",
            )
            for data in (
                [],
                [1] * 11,
                [1.0] * 12,
                ["1"] * 12,
                [True] * 12,
                [10**30] * 12,
                [[1] * 6] * 2,
                [[1], [2, 3]],
                7,
            )
        ],
    ],
)
def test_what_is_no_request_is_refused_with_what_was_expected(document: object, sentence: str) -> None:
    assert refusal(document) == sentence


@pytest.mark.parametrize("header", ["", "0", "-1", "x", "1.5", "٣", "99999", "9" * 1000])
def test_header_length_that_cannot_be_is_refused(header: str) -> None:
    assert refusal({"inputs": [AS_JSON]}, header=header).startswith(
        "expected an Inference-Header-Content-Length from 1 to"
    )


@pytest.mark.parametrize("binary", [PIXELS.tobytes()[:-1], PIXELS.tobytes() + b"0"])
def test_binary_tensor_of_another_length_is_refused(binary: bytes) -> None:
    assert refusal({"inputs": [AS_BYTES]}, binary) == "expected 12 bytes of binary data, found another number"


def test_bytes_that_no_tensor_claims_are_refused() -> None:
    assert refusal({"inputs": [AS_JSON]}, b"0").startswith("expected no bytes after the JSON")


OUTPUTS = Outputs(
    np.array([[0.25, 0.75]], np.float32),
    np.array([[1, 2]], np.float32),
    np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2),
)


def test_answer_in_json() -> None:
    content, head = write_answer("m", InferRequest(PIXELS, [("logits", False), ("heatmap", False)], "7"), OUTPUTS)
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


def test_answer_with_bytes_after_the_json() -> None:
    request = InferRequest(PIXELS, [("probabilities", True), ("logits", False), ("heatmap", True)])
    content, head = write_answer("m", request, OUTPUTS)
    assert head is not None
    document = json.loads(content[:head])
    assert [output.get("parameters") for output in document["outputs"]] == [
        {"binary_data_size": 8},
        None,
        {"binary_data_size": 32},
    ]
    assert "id" not in document
    assert content[head:] == OUTPUTS.probabilities.tobytes() + OUTPUTS.heatmap.tobytes()


def test_answer_that_is_not_a_number_is_an_error_and_no_broken_json() -> None:
    wrong = Outputs(OUTPUTS.probabilities * np.float32(np.nan), OUTPUTS.logits, OUTPUTS.heatmap)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_answer("m", InferRequest(PIXELS, [("probabilities", False)]), wrong)
