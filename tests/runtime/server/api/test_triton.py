"""Requests of Triton's clients: the model, its configuration, and what is not implemented."""

from collections.abc import Callable
from typing import Any

import pytest
import tritonclient.http as triton
from tests.runtime.server.conftest import Server, running
from tritonclient.utils import InferenceServerException

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.api.triton import model_config, repository_index
from ctonnx.server.settings import Settings
from ctonnx.server.transport.errors import RequestError

MODEL = {"name": "m", "version": "1", "state": "READY", "reason": ""}


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"{}", b"null", b'{"ready": true}', b'{"ready": null}', b'{"ready": false}']
)
def test_index_lists_the_model(body: bytes) -> None:
    assert repository_index("m", body) == [MODEL]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"[]", 'expected no body, or a JSON object such as {"ready": true}, found []'),
        (b"{", 'expected no body, or a JSON object such as {"ready": true}, found invalid JSON'),
        (b"\xff", 'expected no body, or a JSON object such as {"ready": true}, found invalid JSON'),
        (b"[" * 100_000, 'expected no body, or a JSON object such as {"ready": true}, found invalid JSON'),
        (b'{"ready": 1}', "expected ready to be true or false, found 1"),
    ],
)
def test_index_with_an_invalid_body_is_rejected(body: bytes, found: str) -> None:
    with pytest.raises(RequestError) as error:
        repository_index("m", body)
    assert (error.value.status, error.value.message) == (400, found)


def test_configuration_matches_the_metadata_without_the_batch_axis(predictor: Predictor) -> None:
    size, classes = predictor.spec.preprocessing.size, len(predictor.spec.classes)
    config = model_config("m", predictor.spec, max_images=8)
    assert config["max_batch_size"] == 8
    assert config["input"] == [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": [size, size, 3]}]
    assert config["output"][0] == {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [classes]}
    assert config["output"][3] == {  # Triton allows no empty dims; the exported config.pbtxt has the same
        "name": "novelty",
        "data_type": "TYPE_FP32",
        "dims": [1],
        "reshape": {"shape": []},
    }


@pytest.fixture
def client(server: Server) -> Any:
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield client
    client.close()


def test_client_gets_the_models_name_and_configuration(client: Any) -> None:
    (found,) = client.get_model_repository_index()
    assert client.is_model_ready(found["name"], found["version"])
    metadata = client.get_model_metadata(found["name"], found["version"])
    for version in ("", "1"):
        config = client.get_model_config(found["name"], version)
        assert [tensor["name"] for tensor in config["input"]] == [tensor["name"] for tensor in metadata["inputs"]]
    assert "model_configuration" in client.get_server_metadata()["extensions"]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.load_model("m"),
        lambda client: client.unload_model("m"),
        lambda client: client.get_inference_statistics(),
        lambda client: client.get_inference_statistics("m", "1"),
        lambda client: client.get_trace_settings(),
        lambda client: client.get_log_settings(),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.get_cuda_shared_memory_status(),
    ],
)
def test_requests_that_are_not_implemented_have_a_message(call: Callable[[Any], object], client: Any) -> None:
    with pytest.raises(InferenceServerException, match="see POST /v2/repository/index; Triton's statistics, loading"):
        call(client)


def test_index_requires_post(server: Server) -> None:
    response = server.get("/v2/repository/index")
    assert (response.status, response.error) == (405, "expected POST at this address, found GET")


def test_configuration_of_another_model_is_not_found(server: Server) -> None:
    response = server.get("/v2/models/another/config")
    assert (response.status, response.error.startswith("expected the model '")) == (404, True)


@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v1/model", "/openapi.json"])
def test_trailing_slash_of_an_address_changes_nothing(path: str, server: Server) -> None:
    assert server.get(f"{path}/").json == server.get(path).json


def test_model_has_the_name_of_the_settings(predictor: Predictor) -> None:
    with running(predictor, Settings(model_name="lungs")) as server:
        client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
        assert client.is_model_ready("lungs")
        assert not client.is_model_ready(predictor.path.stem)
        assert [found["name"] for found in client.get_model_repository_index()] == ["lungs"]
        assert client.get_model_config("lungs")["name"] == client.get_model_metadata("lungs")["name"] == "lungs"
        assert server.get("/v1/model").json["name"] == "lungs"
        client.close()
