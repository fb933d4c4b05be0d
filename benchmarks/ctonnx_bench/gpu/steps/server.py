"""`ctonnx serve` under many clients, each with one request at a time."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from ctonnx.inference.providers import Provider
from ctonnx.prediction.model_selection import find_model
from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.experiments.serving.load import Load, requests_for
from ctonnx_bench.experiments.serving.server import serving
from ctonnx_bench.gpu.step import RUN, Context
from ctonnx_bench.gpu.steps.folder import make_scans

__all__ = ["Served", "run"]


@dataclass(frozen=True)
class Served:
    """A load on the server.

    Attributes:
        clients: Number of clients.
        requests: Number of requests.
        images_per_s: Responses of status 200 per second.
        p50_ms: Median of the requests, in milliseconds.
        p99_ms: Their 99th percentile, in milliseconds.
        statuses: Number of responses by status.
        wrong: Number of responses with another label than the predictor's.
    """

    clients: int
    requests: int
    images_per_s: float
    p50_ms: float
    p99_ms: float
    statuses: str
    wrong: int


def run(context: Context) -> None:
    """Measures a single client, then many."""
    settings = context.settings
    provider = cast("Provider", settings.provider)
    model = find_model(context.work / "runs" / RUN, provider=provider)
    count = settings.different_scans
    files = sorted(make_scans(context.work / "requests", count, count).glob("*.png"))
    with Predictor(model, provider=provider) as predictor:
        labels = [predictor.predict(file).label for file in files]
    bodies = requests_for(files)
    with serving(model, "--provider", provider) as server:
        context.fact("ready after_s", server.ready_seconds)
        for clients, requests in ((1, max(10, settings.requests // 40)), (settings.clients, settings.requests)):
            load = Load.run(server.port, bodies, labels, clients=clients, requests=requests)
            p50, p99 = (float(value) * 1e3 for value in np.percentile(load.seconds, (50, 99)))
            statuses = ", ".join(f"{number} of {status}" for status, number in sorted(load.statuses.items()))
            context.row("Load", Served(clients, requests, load.rate, p50, p99, statuses, load.wrong))
            if load.wrong:
                context.fail(f"expected the predictor's labels, found {load.wrong} others with {clients} clients")
            if set(load.statuses) != {200}:
                context.fail(f"expected responses of status 200 to {clients} clients, found {statuses}")
        context.fact("memory afterwards_mb", round(server.memory))
