"""Metrics for Prometheus: requests, images, batches, the model's time, memory. Nothing of an upload is in them."""

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
    """Metrics of one server, in a separate registry.

    Args:
        model: Name of the model.
        precision: Precision of the model.
        provider: Execution provider of the model.
        version: Version of ctonnx.
    """

    def __init__(self, *, model: str, precision: str, provider: str, version: str) -> None:
        # A series for the creation time of each metric, which is useless if nothing is ever reset.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "ctonnx_requests",
            "Requests, by route and status of the response.",
            ["route", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "ctonnx_request_seconds",
            "Seconds from a request's head to its complete response, by route.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        outcomes = "Images, by outcome: answered or unreadable."
        self.images = Counter("ctonnx_images", outcomes, ["outcome"], registry=registry)
        self.in_progress = Gauge("ctonnx_images_under_way", "Images in progress.", registry=registry)
        self.batch_images = Histogram(
            "ctonnx_batch_images", "Images per batch of the model.", buckets=_IMAGES, registry=registry
        )
        self.model_seconds = Histogram(
            "ctonnx_model_seconds", "Seconds of the model for a batch.", buckets=_SECONDS, registry=registry
        )
        labels = ["model", "precision", "provider", "version"]
        info = Gauge("ctonnx_info", "Served model and version.", labels, registry=registry)
        info.labels(model, precision, provider, version).set(1)

    def count_batch(self, images: int, seconds: float) -> None:
        """Counts a batch that the model computed."""
        self.batch_images.observe(images)
        self.model_seconds.observe(seconds)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Counts a request after its response."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
