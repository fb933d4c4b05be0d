"""Calls over gRPC, by Triton's client: the same rules, limits and metrics as over HTTP."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tests.runtime.server.conftest import WAIT, PausedPredictor, Server
from tests.runtime.server.grpc.conftest import running
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.grpc.messages import message
from ctonnx.server.settings import Limits, Settings

NAME = "model.fp32"
SIDE = 64


@pytest.fixture(scope="module")
def ports(predictor: Predictor) -> Iterator[tuple[Server, str]]:
    with running(predictor, Settings()) as found:
        yield found


@pytest.fixture(scope="module")
def client(ports: tuple[Server, str]) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(ports[1]) as client:
        yield client


def pixels(images: int = 1, side: int = SIDE) -> triton.InferInput:
    values = np.random.default_rng(images).integers(0, 256, (images, side, side, 3)).astype(np.uint8)
    tensor = triton.InferInput("pixels", list(values.shape), "UINT8")
    tensor.set_data_from_numpy(values)
    return tensor


def call(address: str, service: str, method: str, content: bytes, key: str = "") -> bytes:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(f"/{service}/{method}")
        found: bytes = ask(content, timeout=WAIT, metadata=(("authorization", f"Bearer {key}"),) if key else None)
        return found


def code_and_details(error: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, str]:
    raised: Any = error.value
    return raised.code(), raised.details()


def test_client_gets_health_and_metadata(client: triton.InferenceServerClient, ports: tuple[Server, str]) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "1")
    assert client.get_server_metadata(as_json=True)["version"] == "1.2.3"
    (listed,) = client.get_model_repository_index().models
    assert (listed.name, listed.version, listed.state) == (NAME, "1", "READY")
    over_http = ports[0].get(f"/v2/models/{NAME}").json
    found = client.get_model_metadata(NAME)
    assert (found.name, list(found.versions), found.platform) == (NAME, ["1"], over_http["platform"])
    for ours, theirs in ((found.inputs, over_http["inputs"]), (found.outputs, over_http["outputs"])):
        assert [{"name": of.name, "datatype": of.datatype, "shape": list(of.shape)} for of in ours] == theirs


def test_client_infers(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    tensor = pixels(2)
    wanted = [triton.InferRequestedOutput(name) for name in ("heatmap", "probabilities")]
    response = client.infer(NAME, [tensor], outputs=wanted, request_id="mine")
    expected = predictor.predict_pixels(np.random.default_rng(2).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8))
    np.testing.assert_allclose(response.as_numpy("probabilities"), expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(response.as_numpy("heatmap"), expected.heatmap, atol=1e-5)
    assert response.as_numpy("logits") is None
    assert (response.get_response().id, response.get_response().model_name) == ("mine", NAME)
    everything = client.infer(NAME, [tensor], model_version="1")
    assert all(everything.as_numpy(name) is not None for name in ("probabilities", "logits", "heatmap", "novelty"))


def test_pixels_as_numbers_have_outputs_as_numbers(ports: tuple[Server, str], predictor: Predictor) -> None:
    values = np.full((1, SIDE, SIDE, 3), 7, np.uint8)
    sent = service_pb2.ModelInferRequest(model_name=NAME)
    tensor = sent.inputs.add(name="pixels", datatype="UINT8", shape=values.shape)
    tensor.contents.uint_contents.extend(values.ravel().tolist())
    sent.outputs.add(name="logits")
    content = call(ports[1], "inference.GRPCInferenceService", "ModelInfer", sent.SerializeToString())
    response = service_pb2.ModelInferResponse.FromString(content)
    assert not response.raw_output_contents
    (output,) = response.outputs
    np.testing.assert_allclose(output.contents.fp32_contents, predictor.predict_pixels(values).logits[0], atol=1e-5)


def test_calls_are_counted_as_requests(client: triton.InferenceServerClient, ports: tuple[Server, str]) -> None:
    name = 'ctonnx_requests_total{route="infer",status="200"}'
    before = ports[0].metric(name)
    client.infer(NAME, [pixels()])
    assert ports[0].metric(name) == before + 1


@pytest.mark.parametrize(
    ("ask", "status", "expected"),
    [
        (
            lambda client: client.infer(NAME, [pixels(side=32)]),
            "INVALID_ARGUMENT",
            "expected a shape of [images, 64, 64, 3]",
        ),
        (lambda client: client.infer("other", [pixels()]), "NOT_FOUND", "expected the model 'model.fp32', version '1'"),
        (
            lambda client: client.infer(NAME, [pixels()], model_version="2"),
            "NOT_FOUND",
            "expected the model 'model.fp32'",
        ),
        (lambda client: client.infer("../v1", [pixels()]), "NOT_FOUND", "expected the name and version of the model"),
        (lambda client: client.infer("", [pixels()]), "NOT_FOUND", "expected the name and version of the model"),
        (lambda client: client.get_model_metadata("other"), "NOT_FOUND", f"expected the model '{NAME}'"),
        (lambda client: client.load_model(NAME), "UNIMPLEMENTED", ""),
    ],
)
def test_errors_have_https_messages(ask: Any, status: str, expected: str, client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as error:
        ask(client)
    assert error.value.status() == f"StatusCode.{status}"
    assert expected in error.value.message()


def test_bytes_that_are_no_message_are_rejected(ports: tuple[Server, str]) -> None:
    with pytest.raises(grpc.RpcError) as error:
        call(ports[1], "inference.GRPCInferenceService", "ModelInfer", b"\xff\xff")
    assert code_and_details(error) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "expected a message ModelInferRequest, found other bytes",
    )


def test_health_is_checked_by_grpcs_protocol(ports: tuple[Server, str]) -> None:
    for service in ("", "inference.GRPCInferenceService"):
        request = message("HealthCheckRequest")(service=service).SerializeToString()
        content = call(ports[1], "grpc.health.v1.Health", "Check", request)
        assert message("HealthCheckResponse").FromString(content).status == 1
    with pytest.raises(grpc.RpcError) as error:
        call(ports[1], "grpc.health.v1.Health", "Check", message("HealthCheckRequest")(service="x").SerializeToString())
    assert code_and_details(error)[0] == grpc.StatusCode.NOT_FOUND


def test_key_is_needed_for_all_but_health(predictor: Predictor) -> None:
    with running(predictor, Settings(key="secret")) as (_, address), triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        for headers in ({}, {"authorization": "Bearer other"}):
            with pytest.raises(InferenceServerException) as error:
                client.get_server_metadata(headers=headers)
            assert error.value.status() == "StatusCode.UNAUTHENTICATED"
            with pytest.raises(InferenceServerException) as error:
                client.infer(NAME, [pixels()], headers=headers)
            assert error.value.status() == "StatusCode.UNAUTHENTICATED"
        found = client.infer(NAME, [pixels()], headers={"authorization": "Bearer secret"})
        assert found.as_numpy("logits").shape == (1, 4)


def test_message_above_the_limit_is_rejected(predictor: Predictor) -> None:
    limits = Limits(body_bytes=50_000)
    with running(predictor, Settings(limits=limits)) as (_, address), triton.InferenceServerClient(address) as client:
        client.infer(NAME, [pixels(4)])
        with pytest.raises(InferenceServerException) as error:
            client.infer(NAME, [pixels(5)])
        assert error.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_full_queue_rejects_calls_and_completes_those_in_it(paused: PausedPredictor) -> None:
    paused.go.set()
    settings = Settings(limits=Limits(files=2), queue=2)
    with (
        running(paused, settings) as (server, address),
        ThreadPoolExecutor(2) as pool,
        triton.InferenceServerClient(address) as client,
    ):
        paused.go.clear()
        in_progress = [pool.submit(client.infer, NAME, [pixels()]) for _ in range(2)]
        while server.metric("ctonnx_images_under_way") < 2:
            pass
        with pytest.raises(InferenceServerException, match="too many images are waiting") as error:
            client.infer(NAME, [pixels()])
        assert error.value.status() == "StatusCode.UNAVAILABLE"
        paused.go.set()
        assert all(call.result().as_numpy("logits").shape == (1, 4) for call in in_progress)


def test_time_limit_of_a_client_is_applied(paused: PausedPredictor) -> None:
    paused.go.set()
    with running(paused, Settings()) as (server, address), triton.InferenceServerClient(address) as client:
        paused.go.clear()
        with pytest.raises(InferenceServerException, match="expected a result within 50 ms, found none yet"):
            client.infer(NAME, [pixels()], timeout=50_000)
        with pytest.raises(InferenceServerException, match="Deadline Exceeded"):  # of the call, by gRPC itself
            client.infer(NAME, [pixels()], client_timeout=0.05)
        paused.go.set()
        while server.metric("ctonnx_images_under_way"):
            pass


def test_call_in_progress_is_completed_before_the_server_stops(paused: PausedPredictor) -> None:
    paused.go.set()
    with (
        running(paused, Settings()) as (server, address),
        ThreadPoolExecutor(1) as pool,
        triton.InferenceServerClient(address) as client,
    ):
        paused.go.clear()
        in_progress = pool.submit(client.infer, NAME, [pixels()])
        while server.metric("ctonnx_images_under_way") < 1:
            pass
        server.app.stopping = True
        assert not client.is_server_ready()
        with pytest.raises(InferenceServerException) as error:
            client.infer(NAME, [pixels()])
        assert error.value.status() == "StatusCode.UNAVAILABLE"
        paused.go.set()
        assert in_progress.result().as_numpy("logits").shape == (1, 4)
