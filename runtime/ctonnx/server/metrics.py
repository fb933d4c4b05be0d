"""What Prometheus reads: requests, images, batches, the model's seconds, memory; no word of any upload."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server, in a registry of their own.

    Args:
        model: Its name.
        precision: of the model.
        provider: that runs it.
        version: of ctonnx.
    """

    def __init__(self, *, model: str, precision: str, provider: str, version: str) -> None:
        # A series more for each, which tells nothing of a server that never resets them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "ctonnx_requests",
            "Requests, by what was asked and the answer's status.",
            ["route", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "ctonnx_request_seconds",
            "From a request's first line to its whole answer, by what was asked.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.images = Counter(
            "ctonnx_images", "Images, by what became of them: answered or unreadable.", ["outcome"], registry=registry
        )
        self.under_way = Gauge("ctonnx_images_under_way", "Images that wait for their answer.", registry=registry)
        self.batch_images = Histogram(
            "ctonnx_batch_images", "Images that the model was given at a time.", buckets=_IMAGES, registry=registry
        )
        self.model_seconds = Histogram(
            "ctonnx_model_seconds", "That the model took for a batch.", buckets=_SECONDS, registry=registry
        )
        info = Gauge("ctonnx_info", "What is served.", ["model", "precision", "provider", "version"], registry=registry)
        info.labels(model, precision, provider, version).set(1)

    def count_batch(self, images: int, seconds: float) -> None:
        """Takes down a batch that the model answered."""
        self.batch_images.observe(images)
        self.model_seconds.observe(seconds)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Takes down an answered request."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Returns all of it in Prometheus' text format."""
        return generate_latest(self.registry)
