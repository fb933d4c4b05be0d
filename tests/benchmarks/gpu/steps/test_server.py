"""A server is measured with one client and with many; wrong labels and other statuses fail the step."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from ctonnx_bench.experiments.serving.load import Load
from ctonnx_bench.gpu.step import Context
from ctonnx_bench.gpu.steps import server
from ctonnx_bench.gpu.steps.server import run


def test_one_client_and_many_are_measured(exported_context: Context) -> None:
    run(exported_context)
    rows = exported_context.recorded.tables["Load"]
    assert [(row["clients"], row["requests"], row["statuses"]) for row in rows] == [
        (1, 10, "10 of 200"),
        (4, 12, "12 of 200"),
    ]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in rows)
    assert exported_context.recorded.facts["ready after_s"] > 0
    assert exported_context.recorded.failures == []


def test_wrong_label_and_other_status_are_failures(exported_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load([0.1, 0.2], {200: 1, 503: 1}, 1, 1.0)
    running = SimpleNamespace(port=1, ready_seconds=0.5, memory=1.0)
    monkeypatch.setattr(server, "serving", lambda *arguments: nullcontext(running))
    options: list[Any] = []

    def loaded(*arguments: Any, **given: int) -> Load:
        options.append(given)
        return load

    monkeypatch.setattr(Load, "run", loaded)
    run(exported_context)
    assert options == [{"clients": 1, "requests": 10}, {"clients": 4, "requests": 12}]
    assert exported_context.recorded.failures[:2] == [
        "expected the predictor's labels, found 1 others with 1 clients",
        "expected responses of status 200 to 1 clients, found 1 of 200, 1 of 503",
    ]
