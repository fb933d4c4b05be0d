"""The routes: what is asked and answered over HTTP."""

import base64
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tests.runtime.server.conftest import WAIT, Answer, Held, Server, encoded, multipart, running
from tritonclient.utils import InferenceServerException

from ctonnx.images import load, to_pixels
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.app import make_app
from ctonnx.server.settings import Limits, Settings

NAME = "model.fp32"


def picture(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


# --- /v1 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "IMAGE/PNG; charset=x"])
def test_raw_body_is_classified_as_the_predictor_does(
    kind: str, server: Server, predictor: Predictor, png: bytes
) -> None:
    expected = predictor.predict(png)
    answer = server.classify(png, kind)
    (result,) = answer.json["results"]
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert list(result["probabilities"]) == list(expected.probabilities)
    assert result["probabilities"] == pytest.approx(dict(expected.probabilities), abs=1e-6)
    assert (result["label"], result["suspicious"]) == (expected.label, expected.suspicious)
    assert result["score"] == pytest.approx(expected.score, abs=1e-5)
    assert (result["index"], result["frame"], result["error"]) == (0, None, None)
    assert (result["heatmap"], result["scan"]) == (None, None)
    assert result["milliseconds"] > 0


def test_answer_says_which_model_gave_it_and_by_which_operating_point(
    server: Server, predictor: Predictor, png: bytes
) -> None:
    facts, point = server.get("/v1/model").json, predictor.spec.operating_point
    assert point is not None
    assert server.classify(png).json["model"] == {
        **{name: facts[name] for name in ("name", "run", "precision", "sha256", "synthetic")},
        "threshold": point.threshold,
        "positive": list(point.positive),
    }


def test_files_are_answered_in_their_order_and_a_broken_one_in_its_place(server: Server, png: bytes) -> None:
    dark = encoded(np.zeros((70, 60), np.uint8), "BMP")
    body, kind = multipart(png, b"not an image", png[:2000], dark, b"")
    answer = server.classify(body, kind)
    results = answer.json["results"]
    assert answer.status == 200
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


def test_heatmap_and_scan_are_pictures_of_the_scans_shape(server: Server, png: bytes) -> None:
    (result,) = server.classify(png, query="?heatmap=true&scan=true").json["results"]
    scan, heatmap = picture(result["scan"]), picture(result["heatmap"])
    assert np.array_equal(np.asarray(scan), np.asarray(load(png)))
    assert heatmap.size == (80, 100)
    assert np.asarray(heatmap.convert("RGB")).max() > 200  # the map is relative to its own maximum


def test_large_scan_is_shown_smaller(server: Server) -> None:
    (result,) = server.classify(encoded(np.zeros((500, 2000, 3), np.uint8)), query="?scan=true&heatmap=true").json[
        "results"
    ]
    assert (picture(result["scan"]).size, picture(result["scan"]).mode) == ((1024, 256), "RGB")
    assert picture(result["heatmap"]).size == (256, 64)


@pytest.mark.parametrize("query", ["?heatmap=yes", "?scan=1", "?heatmap="])
def test_flag_that_is_neither_true_nor_false_is_refused(query: str, server: Server, png: bytes) -> None:
    answer = server.classify(png, query=query)
    assert answer.status == 400
    assert answer.error.endswith(f"to be true or false, found '{query.partition('=')[2]}'")


def test_model_says_what_a_page_shows(server: Server, predictor: Predictor) -> None:
    facts = server.get("/v1/model").json
    assert (facts["name"], facts["version"], facts["key_required"]) == (NAME, "1.2.3", False)
    assert facts["classes"] == list(predictor.spec.classes)
    assert facts["limits"] == {"bytes": 64 << 20, "pixels": 64_000_000, "files": 64}
    assert "not a medical device" in facts["notice"]


# --- the Open Inference Protocol, by Triton's own client -------------------------------------------------------------


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def test_triton_client_finds_health_and_metadata(client: triton.InferenceServerClient, predictor: Predictor) -> None:
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
    answer = client.infer(NAME, [given], outputs=wanted, request_id="mine")
    expected = predictor.predict_pixels(pixels)
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(answer.as_numpy("heatmap"), expected.heatmap, atol=1e-5)
    assert answer.as_numpy("logits") is None
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["heatmap", "probabilities"]
    assert (answer.get_response()["id"], answer.get_response()["model_name"]) == ("mine", NAME)


def test_triton_client_that_names_no_output_gets_all_of_them(client: triton.InferenceServerClient) -> None:
    given = triton.InferInput("pixels", [1, 64, 64, 3], "UINT8")
    given.set_data_from_numpy(np.zeros((1, 64, 64, 3), np.uint8))
    answer = client.infer(NAME, [given], model_version="1")
    assert all(answer.as_numpy(name) is not None for name in ("probabilities", "logits", "heatmap"))


def test_triton_client_reads_our_errors(client: triton.InferenceServerClient) -> None:
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


def test_infer_takes_json_without_a_content_type_and_no_other_type(server: Server) -> None:
    path = f"/v2/models/{NAME}/infer"
    assert server.ask("POST", path, b"{}").status == 400
    assert server.ask("POST", path, b"{}", {"Content-Type": "text/xml"}).status == 415


def test_clients_own_time_limit_is_kept(held: Held) -> None:
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3], "data": [0] * (64 * 64 * 3)}
    held.go.set()  # the first run warms the session up
    with running(held, Settings()) as server:
        held.go.clear()
        answer = server.infer({"inputs": [pixels], "parameters": {"timeout": 50_000}})
        held.go.set()
        assert (answer.status, answer.error) == (504, "expected an answer within 50 ms, and there is none yet")


# --- the rest --------------------------------------------------------------------------------------------------------


def test_unknown_address_and_wrong_method_are_told_as_every_error(server: Server) -> None:
    nothing = server.get("/v1/nothing")
    assert (nothing.status, nothing.error) == (
        404,
        "there is nothing at this address; /openapi.json tells what there is",
    )
    wrong = server.get("/v1/classify")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert wrong.error == "expected POST at this address, found GET"


def test_page_is_served_from_the_package_and_nothing_beside_it(server: Server) -> None:
    folder = Path(make_app.__code__.co_filename).parent / "page"
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        file = folder / (path[1:] or "index.html")
        answer = server.get(path)
        if file.is_file():
            assert (answer.status, answer.body) == (200, file.read_bytes())
            assert answer.headers["content-type"].startswith(kind)
        else:
            assert answer.status == 404
    assert {
        server.get(path).status for path in ("/app.py", "/../app.py", "/page.css/../app.py", "/page/page.js", "/v1/")
    } == {404}


def many(server: Server, png: bytes, count: int) -> list[Answer]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: server.classify(png), range(count)))


def test_full_queue_turns_requests_away_and_those_within_it_are_answered(held: Held, png: bytes) -> None:
    held.go.set()
    settings = Settings(limits=Limits(files=2), queue=2)
    with running(held, settings) as server, ThreadPoolExecutor(2) as pool:
        held.go.clear()
        under_way = [pool.submit(server.classify, png) for _ in range(2)]
        for _ in range(3):  # the warm-up's, and theirs
            assert held.begun.acquire(timeout=WAIT) or len(held.batches) == 2
            if sum(held.batches) == 3:
                break
        turned_away = server.classify(png)
        assert (turned_away.status, turned_away.error) == (503, "too many images are waiting; try again soon")
        assert int(turned_away.headers["retry-after"]) >= 1
        held.go.set()
        assert [request.result().status for request in under_way] == [200, 200]
        assert server.classify(png).status == 200
        assert server.metric('ctonnx_requests_total{route="classify",status="503"}') == 1


def test_answer_that_takes_too_long_is_504(held: Held, png: bytes) -> None:
    held.go.set()
    with running(held, Settings(limits=Limits(seconds=0.1))) as server:
        held.go.clear()
        answer = server.classify(png)
        held.go.set()
        assert (answer.status, answer.error) == (504, "expected an answer within 100 ms, and there is none yet")
        assert server.metric("ctonnx_images_under_way") == 0


def test_client_that_goes_away_takes_its_waiting_work_with_it(held: Held, png: bytes) -> None:
    held.go.set()
    with running(held, Settings()) as server, ThreadPoolExecutor(held.threads) as pool:
        held.go.clear()
        busy = [pool.submit(server.classify, png) for _ in range(held.threads)]
        while server.metric("ctonnx_images_under_way") < held.threads:
            pass
        body, kind = multipart(*[png] * 8)
        with server.raw() as connection:
            head = (
                f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            while server.metric("ctonnx_images_under_way") < held.threads + 8:
                pass
        while server.metric("ctonnx_images_under_way") > held.threads:
            pass
        held.go.set()
        assert [request.result().status for request in busy] == [200] * held.threads
        assert server.classify(png).status == 200
        assert sum(held.batches) <= 1 + 2 * held.threads + 1  # none of the eight, but one that a run had begun with
        assert server.metric('ctonnx_requests_total{route="classify",status="499"}') == 1


def test_waiting_images_are_run_together(held: Held, png: bytes) -> None:
    held.go.set()
    with running(held, Settings(max_batch=4)) as server, ThreadPoolExecutor(12) as pool:
        held.batches.clear()
        held.go.clear()
        requests = [pool.submit(server.classify, png) for _ in range(12)]
        while server.metric("ctonnx_images_under_way") < 12:
            pass
        held.go.set()
        answers = [request.result() for request in requests]
        assert [answer.status for answer in answers] == [200] * 12
        assert len({answer.json["results"][0]["probability"] for answer in answers}) == 1
        assert sum(held.batches) == 12
        assert max(held.batches) == 4
        assert server.metric("ctonnx_batch_images_count") == len(held.batches)


def test_error_of_ours_tells_nothing_of_the_inside(held: Held, png: bytes, caplog: pytest.LogCaptureFixture) -> None:
    held.go.set()
    with running(held, Settings()) as server:
        held.fails = True
        answer = server.classify(png)
        assert (answer.status, answer.error) == (500, "the server failed; its own log tells why")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret: /home/someone" in caplog.text  # which stands on stderr where nobody else takes the log


def test_requests_leave_no_thread_and_no_memory_of_uploads(server: Server, png: bytes) -> None:
    many(server, png, 4)
    before = threading.active_count()
    for _ in range(3):
        many(server, png, 4)
    assert threading.active_count() <= before + 2  # pools grow to their bound, and no further
