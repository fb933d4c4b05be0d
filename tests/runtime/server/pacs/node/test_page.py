"""The node's page, health and metrics."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="starlette (the extra serve) is not installed")

from ctonnx.errors import CtonnxError  # after the extra
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.pacs.node.node import Node
from ctonnx.server.pacs.node.page import serving
from ctonnx.server.pacs.node.settings import NodeSettings, ReceiverSettings
from ctonnx.server.pacs.results.document import ResultModel


@contextmanager
def asking(node: Node) -> Iterator[Callable[..., tuple[int, str]]]:
    """Yields a function that returns the status and the text of an answer."""
    with serving(node, "127.0.0.1", 0) as port:

        def ask(path: str, method: str = "GET") -> tuple[int, str]:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                connection.request(method, path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()

        yield ask


@pytest.fixture
def node(tmp_path: Path, opened: Predictor, described: ResultModel) -> Iterator[Node]:
    """A node that listens; with a sent, a queued and a dead result."""
    settings = NodeSettings(folder=tmp_path / "node", receiver=ReceiverSettings(port=0), spool_limit=10**9)
    with Node(opened, described, settings, []) as node:
        results = [("1.2", "sr"), ("1.3", "sc"), ("1.4", "ko")]
        node.outbox.finish("a", "c", 2, decision="positive", results=results, destinations=["A@h:1"])
        node.outbox.finish("b", "c", 1, decision=None, error="damaged")
        for name in ("c", "d"):
            node.outbox.finish(name, "c", 1, decision=None)
        first, second, _ = node.outbox.due(9)
        node.outbox.mark_sent(first)
        node.outbox.mark_failed(second, "<b>it answered with status C000</b>", wait=None)
        node.received, node.rejected = 7, 2
        node.outcomes.update({"positive": 1, "left out": 2, "failed": 1})
        node.counted[("class", "tumor")] = 3
        yield node


def test_page_shows_the_queue_and_escapes_what_others_wrote(node: Node) -> None:
    with asking(node) as ask:
        _, text = ask("/")
    for name, value in (
        ("instances stored since the start", 7),
        ("instances rejected since the start", 2),
        ("series predicted", 1),
        ("series left out", 2),
        ("series failed", 1),
        ("results sent", 1),
        ("results queued", 1),
        ("results dead", 1),
        ("spool, MB", "0.0 of 1000"),
    ):
        assert f"<th scope=row>{name}</th><td class=number>{value}</td>" in text
    assert "<td class=dead>dead</td><td>sc</td><td class=uid>1.3</td><td>A@h:1</td><td>1</td>" in text
    assert "&lt;b&gt;it answered with status C000&lt;/b&gt;" in text
    assert "Research, not for diagnosis" in text


def test_health_is_503_while_the_spool_is_full(node: Node) -> None:
    with asking(node) as ask:
        assert ask("/healthz") == (200, '{"status":"ok","waiting_series":0}')
        node.spool.limit = 0
        assert ask("/healthz") == (503, '{"status":"spool full","waiting_series":0}')


def test_metrics_have_the_numbers_of_the_node(node: Node) -> None:
    with asking(node) as ask:
        lines = ask("/metrics")[1].splitlines()
    assert {
        'ctonnx_node_instances_total{outcome="stored"} 7.0',
        'ctonnx_node_instances_total{outcome="rejected"} 2.0',
        'ctonnx_node_series_total{outcome="positive"} 1.0',
        'ctonnx_node_series_total{outcome="left out"} 2.0',
        'ctonnx_node_series_total{outcome="failed"} 1.0',
        'ctonnx_node_results{state="dead"} 1.0',
        'ctonnx_node_usage_total{bin="tumor",quantity="class"} 3.0',
        "ctonnx_node_waiting_series 0.0",
        "ctonnx_node_spool_limit_bytes 1e+09",
    } <= set(lines)


def test_other_paths_and_methods_are_not_found(node: Node) -> None:
    with asking(node) as ask:
        assert ask("/queue.sqlite")[0] == 404
        assert ask("/", "POST")[0] == 405


def test_address_that_is_taken_is_an_error(node: Node) -> None:
    sentence = r"expected to serve the page on 127.0.0.1:\d+, found .*choose another --http"
    with serving(node, "127.0.0.1", 0) as port, pytest.raises(CtonnxError, match=sentence):
        serving(node, "127.0.0.1", port).__enter__()
