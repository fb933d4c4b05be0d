"""Routes: requests and responses over HTTP."""

import asyncio
import base64
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.server.conftest import WAIT, PausedPredictor, Response, Server, encoded, multipart, running
from tritonclient.utils import InferenceServerException

from ctonnx.images import load, to_pixels
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.app import make_app
from ctonnx.server.engine.batching import Batcher
from ctonnx.server.settings import Limits, Settings

NAME = "model.fp32"


def picture(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


# --- /v1 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "IMAGE/PNG; charset=x"])
def test_raw_body_has_the_result_of_the_predictor(kind: str, server: Server, predictor: Predictor, png: bytes) -> None:
    expected = predictor.predict(png)
    response = server.classify(png, kind)
    (result,) = response.json["results"]
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert list(result["probabilities"]) == list(expected.probabilities)
    assert result["probabilities"] == pytest.approx(dict(expected.probabilities), abs=1e-6)
    assert (result["label"], result["suspicious"]) == (expected.label, expected.suspicious)
    assert (result["decision"], result["reason"]) == (expected.decision, expected.reason)
    assert result["set"] == list(expected.prediction_set or ())
    assert result["score"] == pytest.approx(expected.score, abs=1e-5)
    assert (result["index"], result["frame"], result["error"]) == (0, None, None)
    assert (result["heatmap"], result["scan"]) == (None, None)
    assert result["milliseconds"] > 0


def test_response_names_its_model_and_operating_point(server: Server, predictor: Predictor, png: bytes) -> None:
    facts, point = server.get("/v1/model").json, predictor.spec.operating_point
    assert point is not None
    assert server.classify(png).json["model"] == {
        **{
            name: facts[name]
            for name in (
                "name",
                "run",
                "precision",
                "sha256",
                "synthetic",
                "coverage",
                "coverage_not_promised",
                "novelty",
                "fitted_on",
            )
        },
        "threshold": point.threshold,
        "positive": list(point.positive),
    }


def test_results_are_in_the_order_of_the_files_with_errors_in_place(server: Server, png: bytes) -> None:
    dark = encoded(np.zeros((70, 60), np.uint8), "BMP")
    body, kind = multipart(png, b"not an image", png[:2000], dark, b"")
    response = server.classify(body, kind)
    results = response.json["results"]
    assert response.status == 200
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]
    assert [result["error"] for result in results] == [
        None,
        "not an image in a format that can be read, but a text file",
        "damaged image: image file is truncated",
        None,
        "the file is empty (0 bytes)",
    ]
    assert results[0]["probability"] == pytest.approx(server.classify(png).json["results"][0]["probability"])
    assert results[3]["probability"] == pytest.approx(server.classify(dark).json["results"][0]["probability"])
    assert [results[1][key] for key in ("label", "probability", "suspicious", "heatmap")] == [None] * 4


def test_heatmap_and_scan_have_the_scans_shape(server: Server, png: bytes) -> None:
    (result,) = server.classify(png, query="?heatmap=true&scan=true").json["results"]
    scan, heatmap = picture(result["scan"]), picture(result["heatmap"])
    assert np.array_equal(np.asarray(scan), np.asarray(load(png)))
    assert heatmap.size == (80, 100)
    assert np.asarray(heatmap.convert("RGB")).max() > 200  # the map is relative to its own maximum


def test_large_scan_is_downscaled(server: Server) -> None:
    (result,) = server.classify(encoded(np.zeros((500, 2000, 3), np.uint8)), query="?scan=true&heatmap=true").json[
        "results"
    ]
    assert (picture(result["scan"]).size, picture(result["scan"]).mode) == ((1024, 256), "RGB")
    assert picture(result["heatmap"]).size == (256, 64)


@pytest.mark.parametrize("query", ["?heatmap=yes", "?scan=1", "?heatmap="])
def test_flag_that_is_neither_true_nor_false_is_rejected(query: str, server: Server, png: bytes) -> None:
    response = server.classify(png, query=query)
    assert response.status == 400
    assert response.error.endswith(f"to be true or false, found '{query.partition('=')[2]}'")


def test_model_facts_are_complete_for_the_page(server: Server, predictor: Predictor) -> None:
    facts = server.get("/v1/model").json
    assert (facts["name"], facts["version"], facts["key_required"]) == (NAME, "1.2.3", False)
    assert facts["classes"] == list(predictor.spec.classes)
    assert facts["limits"] == {"bytes": 64 << 20, "pixels": 64_000_000, "files": 64}
    assert "not a medical device" in facts["notice"]


# --- the Open Inference Protocol, with Triton's client ---------------------------------------------------------------


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def test_triton_client_gets_health_and_metadata(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "1")
    extensions = ["binary_tensor_data", "model_configuration"]
    assert client.get_server_metadata() == {"name": "ctonnx", "version": "1.2.3", "extensions": extensions}
    metadata = client.get_model_metadata(NAME)
    assert metadata == client.get_model_metadata(NAME, "1")
    assert metadata["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 64, 64, 3]}]
    classes = len(predictor.spec.classes)
    assert metadata["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
        {"name": "logits", "datatype": "FP32", "shape": [-1, classes]},
        {"name": "heatmap", "datatype": "FP32", "shape": [-1, classes, 2, 2]},
        {"name": "novelty", "datatype": "FP32", "shape": [-1, 1]},
    ]


@pytest.mark.parametrize("sent_as_bytes", [True, False])
@pytest.mark.parametrize("received_as_bytes", [True, False])
def test_triton_client_infers(
    sent_as_bytes: bool,
    received_as_bytes: bool,
    client: triton.InferenceServerClient,
    predictor: Predictor,
    png: bytes,
) -> None:
    pixels = np.stack([to_pixels(load(png), predictor.spec.preprocessing), np.zeros((64, 64, 3), np.uint8)])
    given = triton.InferInput("pixels", list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels, binary_data=sent_as_bytes)
    wanted = [triton.InferRequestedOutput(name, received_as_bytes) for name in ("heatmap", "probabilities")]
    response = client.infer(NAME, [given], outputs=wanted, request_id="mine")
    expected = predictor.predict_pixels(pixels)
    np.testing.assert_allclose(response.as_numpy("probabilities"), expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(response.as_numpy("heatmap"), expected.heatmap, atol=1e-5)
    assert response.as_numpy("logits") is None
    assert [output["name"] for output in response.get_response()["outputs"]] == ["heatmap", "probabilities"]
    assert (response.get_response()["id"], response.get_response()["model_name"]) == ("mine", NAME)


def test_triton_client_that_names_no_output_gets_all(client: triton.InferenceServerClient) -> None:
    given = triton.InferInput("pixels", [1, 64, 64, 3], "UINT8")
    given.set_data_from_numpy(np.zeros((1, 64, 64, 3), np.uint8))
    response = client.infer(NAME, [given], model_version="1")
    assert all(response.as_numpy(name) is not None for name in ("probabilities", "logits", "heatmap"))


def test_triton_client_gets_the_errors(client: triton.InferenceServerClient) -> None:
    given = triton.InferInput("pixels", [1, 32, 32, 3], "UINT8")
    given.set_data_from_numpy(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(InferenceServerException, match=r"expected a shape of \[images, 64, 64, 3\]"):
        client.infer(NAME, [given])
    for ask in (client.get_model_metadata, client.is_model_ready):
        if ask == client.is_model_ready:
            assert not ask("other")
        else:
            with pytest.raises(
                InferenceServerException, match=f"expected the model '{NAME}', version '1', found 'other'"
            ):
                ask("other")


@pytest.mark.parametrize(
    "path", ["/v2/models/other", f"/v2/models/{NAME}/versions/2", f"/v2/models/{NAME}/versions/2/ready"]
)
def test_other_model_or_version_is_not_found(path: str, server: Server) -> None:
    assert (server.get(path).status, server.get(path).error[:18]) == (404, "expected the model")


def test_infer_accepts_json_without_a_content_type_and_no_other_type(server: Server) -> None:
    path = f"/v2/models/{NAME}/infer"
    assert server.ask("POST", path, b"{}").status == 400
    assert server.ask("POST", path, b"{}", {"Content-Type": "text/xml"}).status == 415


def test_time_limit_of_a_client_is_applied(paused: PausedPredictor) -> None:
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3], "data": [0] * (64 * 64 * 3)}
    paused.go.set()  # for the warm-up
    with running(paused, Settings()) as server:
        paused.go.clear()
        response = server.infer({"inputs": [pixels], "parameters": {"timeout": 50_000}})
        paused.go.set()
        assert (response.status, response.error) == (504, "expected a result within 50 ms, found none yet")


# --- the rest --------------------------------------------------------------------------------------------------------


def test_unknown_address_and_wrong_method_have_an_error_body(server: Server) -> None:
    nothing = server.get("/v1/nothing")
    assert (nothing.status, nothing.error) == (
        404,
        "there is nothing at this address; /openapi.json lists all addresses",
    )
    wrong = server.get("/v1/classify")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert wrong.error == "expected POST at this address, found GET"


def test_only_the_page_is_served_from_the_package(server: Server) -> None:
    folder = Path(make_app.__code__.co_filename).parent / "page"
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        file = folder / (path[1:] or "index.html")
        response = server.get(path)
        if file.is_file():
            assert (response.status, response.body) == (200, file.read_bytes())
            assert response.headers["content-type"].startswith(kind)
        else:
            assert response.status == 404
    assert {
        server.get(path).status for path in ("/app.py", "/../app.py", "/page.css/../app.py", "/page/page.js", "/v1/")
    } == {404}


def many(server: Server, png: bytes, count: int) -> list[Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: server.classify(png), range(count)))


def test_full_queue_rejects_requests_and_completes_those_in_it(paused: PausedPredictor, png: bytes) -> None:
    paused.go.set()
    settings = Settings(limits=Limits(files=2), queue=2)
    with running(paused, settings) as server, ThreadPoolExecutor(2) as pool:
        paused.go.clear()
        in_progress = [pool.submit(server.classify, png) for _ in range(2)]
        for _ in range(3):  # the warm-up and both requests
            assert paused.begun.acquire(timeout=WAIT) or len(paused.batches) == 2
            if sum(paused.batches) == 3:
                break
        rejected = server.classify(png)
        assert (rejected.status, rejected.error) == (503, "too many images are waiting; try again soon")
        assert int(rejected.headers["retry-after"]) >= 1
        paused.go.set()
        assert [request.result().status for request in in_progress] == [200, 200]
        assert server.classify(png).status == 200
        assert server.metric('ctonnx_requests_total{route="classify",status="503"}') == 1


def test_request_that_exceeds_the_time_limit_is_504(paused: PausedPredictor, png: bytes) -> None:
    paused.go.set()
    with running(paused, Settings(limits=Limits(seconds=0.1))) as server:
        paused.go.clear()
        response = server.classify(png)
        paused.go.set()
        assert (response.status, response.error) == (504, "expected a result within 100 ms, found none yet")
        assert server.metric("ctonnx_images_under_way") == 0


def test_waiting_work_of_a_disconnected_client_is_cancelled(paused: PausedPredictor, png: bytes) -> None:
    paused.go.set()
    with running(paused, Settings()) as server, ThreadPoolExecutor(paused.threads) as pool:
        paused.go.clear()
        busy = [pool.submit(server.classify, png) for _ in range(paused.threads)]
        while server.metric("ctonnx_images_under_way") < paused.threads:
            pass
        body, kind = multipart(*[png] * 8)
        with server.raw() as connection:
            head = (
                f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            while server.metric("ctonnx_images_under_way") < paused.threads + 8:
                pass
        while server.metric("ctonnx_images_under_way") > paused.threads:
            pass
        paused.go.set()
        assert [request.result().status for request in busy] == [200] * paused.threads
        assert server.classify(png).status == 200
        assert sum(paused.batches) <= 1 + 2 * paused.threads + 1  # none of the eight, except one that had begun
        assert server.metric('ctonnx_requests_total{route="classify",status="499"}') == 1


def test_waiting_images_are_run_together(paused: PausedPredictor, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    paused.go.set()
    decoded = threading.Semaphore(0)
    submit = Batcher.submit

    def submit_and_count(self: Batcher, pixels: NDArray[np.uint8]) -> "asyncio.Future[Outputs]":
        found = submit(self, pixels)
        decoded.release()
        return found

    with running(paused, Settings(max_batch=4)) as server, ThreadPoolExecutor(12) as pool:
        monkeypatch.setattr(Batcher, "submit", submit_and_count)  # after the warm-up
        paused.batches.clear()
        paused.go.clear()
        requests = [pool.submit(server.classify, png) for _ in range(12)]
        assert all(decoded.acquire(timeout=WAIT) for _ in range(12))  # images in progress may still be decoded
        paused.go.set()
        responses = [request.result() for request in requests]
        assert [response.status for response in responses] == [200] * 12
        assert len({response.json["results"][0]["probability"] for response in responses}) == 1
        assert sum(paused.batches) == 12
        assert max(paused.batches) == 4
        assert server.metric("ctonnx_batch_images_count") == len(paused.batches)


def test_internal_error_reveals_no_details(
    paused: PausedPredictor, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    paused.go.set()
    with running(paused, Settings()) as server:
        paused.fails = True
        response = server.classify(png)
        assert (response.status, response.error) == (500, "internal server error; see the server's log")
        assert response.headers["x-content-type-options"] == "nosniff"
    assert "secret: /home/someone" in caplog.text  # and on stderr without another handler


def test_requests_leave_no_thread(server: Server, png: bytes) -> None:
    many(server, png, 4)
    before = threading.active_count()
    for _ in range(3):
        many(server, png, 4)
    assert threading.active_count() <= before + 2  # pools grow up to their maximum
