"""The document is correct: schemathesis tests all that it describes, and finds no failure and no other status."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from tests.runtime.server.conftest import Server, running

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.settings import Limits, Settings
from ctonnx.server.transport.middleware import OPEN

KEY = "key"
BEARER = {"Authorization": f"Bearer {KEY}"}
# JSON Schema cannot express that a tensor's data has the shape's length, and unknown headers are not errors.
SKIPPED_CHECKS = ("positive_data_acceptance", "negative_data_rejection")


@pytest.fixture(scope="module")
def locked(predictor: Predictor) -> Iterator[Server]:
    with running(predictor, Settings(key=KEY, limits=Limits(files=4, body_bytes=100_000))) as server:
        yield server


@pytest.fixture(scope="module")
def described(locked: Server) -> Any:
    return locked.get("/openapi.json", BEARER).json


OPERATIONS = [
    *[
        (path, "get")
        for path in ("/v1/model", "/v2", "/v2/health/live", "/v2/health/ready", "/metrics", "/openapi.json")
    ],
    *[
        (f"/v2/models/{{name}}{version}{ending}", method)
        for version in ("", "/versions/{version}")
        for ending, method in (("", "get"), ("/ready", "get"), ("/config", "get"), ("/infer", "post"))
    ],
    ("/v1/classify", "post"),
    ("/v2/repository/index", "post"),
]


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        (path, method, mode)
        for path, method in OPERATIONS
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or not path.startswith("/v2/health")  # no invalid requests exist
    ],
)
def test_schemathesis_finds_no_failure_and_no_undocumented_status(
    path: str, method: str, mode: GenerationMode, locked: Server, described: Any
) -> None:
    operation = schemathesis.openapi.from_dict(described)[path][method]
    load_all_checks()
    checks: Any = [check for check in CHECKS.get_all() if check.__name__ not in SKIPPED_CHECKS]

    with requests.Session() as session:

        @settings(
            max_examples=12 if method == "post" else 3,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            response = case.call(f"http://127.0.0.1:{locked.port}", session, BEARER)
            case.validate_response(response, checks=checks)
            assert response.status_code < 500

        ask()


def test_document_lists_every_address_except_the_page(described: Any) -> None:
    found = {(path, method) for path, item in described["paths"].items() for method in item if method != "parameters"}
    assert found == set(OPERATIONS)
    assert {path for path, _ in found} & OPEN == {"/v2/health/live", "/v2/health/ready"}


def test_document_contains_the_key_if_it_is_required(described: Any, server: Server) -> None:
    open_document = server.get("/openapi.json").json
    assert described["paths"]["/v1/model"]["get"]["security"] == [{"key": []}]
    assert described["paths"]["/v2/health/live"]["get"]["security"] == []
    assert "401" in described["paths"]["/v1/classify"]["post"]["responses"]
    assert "401" not in open_document["paths"]["/v1/classify"]["post"]["responses"]
    assert "securitySchemes" not in open_document["components"]


def test_responses_for_tensors_and_files_match_the_document(locked: Server, described: Any, png: bytes) -> None:
    schema = schemathesis.openapi.from_dict(described)
    url = f"http://127.0.0.1:{locked.port}"
    pixels: dict[str, Any] = {
        "name": "pixels",
        "datatype": "UINT8",
        "shape": [1, 64, 64, 3],
        "data": [0] * (64 * 64 * 3),
    }
    infer = requests.post(f"{url}/v2/models/model.fp32/infer", json={"inputs": [pixels]}, headers=BEARER, timeout=20)
    parameters = {"heatmap": "true", "scan": "true"}
    headers = {**BEARER, "Content-Type": "image/png"}
    classify = requests.post(f"{url}/v1/classify", data=png, params=parameters, headers=headers, timeout=20)
    assert (infer.status_code, classify.status_code) == (200, 200)
    schema["/v2/models/{name}/infer"]["post"].validate_response(infer)
    schema["/v1/classify"]["post"].validate_response(classify)
