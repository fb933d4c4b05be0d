"""Metrics for Prometheus, read with its own parser."""

from prometheus_client.parser import text_string_to_metric_families
from tests.runtime.server.conftest import Server

from ctonnx.server.monitoring.metrics import Metrics


def made() -> Metrics:
    return Metrics(model="m", precision="int8", provider="cpu", version="1")


def test_servers_have_separate_counters() -> None:
    first, second = made(), made()
    first.count_request("classify", 200, 0.1)
    first.count_batch(3, 0.01)
    assert b'ctonnx_requests_total{route="classify",status="200"} 1.0' in first.text()
    assert b"ctonnx_batch_images_sum 3.0" in first.text()
    assert b'route="classify"' not in second.text()


def test_requests_and_images_are_counted(server: Server, png: bytes) -> None:
    before = server.metric('ctonnx_images_total{outcome="answered"}')
    server.classify(png)
    server.classify(b"broken")
    assert server.metric('ctonnx_images_total{outcome="answered"}') == before + 1
    assert server.metric('ctonnx_images_total{outcome="unreadable"}') >= 1
    assert server.metric('ctonnx_requests_total{route="classify",status="200"}') >= 2


def test_unknown_addresses_add_no_series(server: Server) -> None:
    for number in range(3):
        server.get(f"/nothing/{number}")
    assert server.metric('ctonnx_requests_total{route="none",status="404"}') >= 3


def test_text_has_prometheus_format_and_memory_metrics(server: Server) -> None:
    response = server.get("/metrics")
    names = {family.name for family in text_string_to_metric_families(response.body.decode())}
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert not [name for name in names if name.endswith("_created")]
    assert {"ctonnx_info", "ctonnx_model_seconds", "ctonnx_images_under_way", "process_resident_memory_bytes"} <= names
