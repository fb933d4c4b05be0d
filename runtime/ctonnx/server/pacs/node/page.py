"""The node's page, health and metrics over HTTP, with the packages of the extra `serve`."""

import html
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import prometheus_client as prometheus
import uvicorn
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ctonnx.errors import CtonnxError
from ctonnx.server.pacs.node.node import Node
from ctonnx.server.pacs.node.status import node_status

__all__ = ["make_app", "serving"]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;padding:.4rem .8rem;border-bottom:1px solid #d0d7de}"
    "td.number{text-align:right;font-variant-numeric:tabular-nums}.dead{color:#b3261e;font-weight:600}"
    "td.uid{overflow-wrap:anywhere}p.note{color:#57606a}"
)


_MOST_BINS = 200  # series of a metric: sizes have no bound


class _Collector:
    """Reads the numbers of a node when metrics are asked for."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Any]:
        node = self._node
        counts = node.outbox.counts()
        instances = CounterMetricFamily("ctonnx_node_instances", "Received instances, by outcome.", labels=["outcome"])
        instances.add_metric(["stored"], node.received)
        instances.add_metric(["rejected"], node.rejected)
        yield instances
        series = CounterMetricFamily("ctonnx_node_series", "Series, by outcome, since the start.", labels=["outcome"])
        for outcome, number in node.outcomes.items():
            series.add_metric([outcome], number)
        yield series
        help_ = "Series by quantity and bin of one of their slices, as in the usage log, since the start."
        usage = CounterMetricFamily("ctonnx_node_usage", help_, labels=["quantity", "bin"])
        for (quantity, bin_), number in node.counted.most_common(_MOST_BINS):
            usage.add_metric([quantity, bin_], number)
        yield usage
        results = GaugeMetricFamily("ctonnx_node_results", "Results in the queue, by state.", labels=["state"])
        for state in ("queued", "sent", "dead"):
            results.add_metric([state], getattr(counts, state))
        yield results
        yield GaugeMetricFamily("ctonnx_node_waiting_series", "Series that are not predicted yet.", value=node.waiting)
        yield GaugeMetricFamily("ctonnx_node_spool_bytes", "Size of the received instances.", value=node.spool.bytes)
        waiting = node.spool.result_bytes()
        yield GaugeMetricFamily("ctonnx_node_result_bytes", "Size of the results that are not sent.", value=waiting)
        yield GaugeMetricFamily("ctonnx_node_spool_limit_bytes", "Maximum of both.", value=node.spool.limit)


def make_app(node: Node) -> Starlette:
    """Returns the application: `/` is the page, `/healthz` the health, `/metrics` for Prometheus."""
    registry = prometheus.CollectorRegistry()
    registry.register(_Collector(node))
    prometheus.ProcessCollector(registry=registry)

    def page(request: Request) -> Response:
        return HTMLResponse(_page(node))

    def health(request: Request) -> Response:
        full = node.spool.is_full()
        state = {"status": "spool full" if full else "ok", "waiting_series": node.waiting}
        return JSONResponse(state, status_code=503 if full else 200)

    def metrics(request: Request) -> Response:
        return Response(prometheus.generate_latest(registry), media_type=prometheus.CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/", page), Route("/healthz", health), Route("/metrics", metrics)])


@contextmanager
def serving(node: Node, host: str, port: int) -> Iterator[int]:
    """Serves the page in a thread within the block; yields the port.

    Raises:
        CtonnxError: If the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # from here on, a request is answered
    except OSError as error:
        listener.close()
        raise CtonnxError(
            f"expected to serve the page on {host}:{port}, found that it cannot be used ({error.strerror or error}); "
            "choose another --http"
        ) from error
    server = uvicorn.Server(uvicorn.Config(make_app(node), log_level="critical", access_log=False, lifespan="off"))
    thread = threading.Thread(target=_quietly(server, listener), name="ctonnx-page", daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        listener.close()


def _quietly(server: uvicorn.Server, listener: socket.socket) -> Callable[[], None]:
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # the command handles them

    def run() -> None:
        server.run(sockets=[listener])

    return run


def _page(node: Node) -> str:
    status = node_status(node.folder)
    series, results, spool = status["series"], status["results"], status["spool"]
    rows = [
        ("instances stored since the start", node.received),
        ("instances rejected since the start", node.rejected),
        ("series that wait", node.waiting),
        ("series predicted", series["predicted"]),
        ("series left out", series["left_out"]),
        ("series failed", series["failed"]),
        ("results sent", results["sent"]),
        ("results queued", results["queued"]),
        ("results dead", results["dead"]),
        ("spool, MB", f"{spool['bytes'] / 1e6:.1f} of {node.spool.limit / 1e6:.0f}"),
        ("results in it, MB", f"{node.spool.result_bytes() / 1e6:.1f}"),
    ]
    numbers = "".join(f"<tr><th scope=row>{name}</th><td class=number>{value}</td></tr>" for name, value in rows)
    unsent = "".join(
        f"<tr><td class={one['state']}>{one['state']}</td><td>{one['kind']}</td><td class=uid>{one['uid']}</td>"
        f"<td>{html.escape(one['destination'])}</td><td>{one['attempts']}</td>"
        f"<td>{html.escape(one['error'] or '')}</td></tr>"
        for one in status["unsent"]
    )
    head = "".join(f"<th scope=col>{name}</th>" for name in ("state", "kind", "UID", "to", "attempts", "last error"))
    table = f"<h2>Results that are not sent</h2><table><tr>{head}</tr>{unsent}</table>" if unsent else ""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<meta http-equiv=refresh content=10><title>ctonnx node</title><style>{_STYLE}</style>"
        "<h1>ctonnx node</h1><p class=note>Research, not for diagnosis. This page has nothing of a patient.</p>"
        f"<table>{numbers}</table>{table}</html>"
    )
