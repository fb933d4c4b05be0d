"""Metrics for Prometheus: requests, images, batches, the model's time, memory. Nothing of an upload is in them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import prometheus_client as prometheus
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)
_PERCENT = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100)
_GREY = (16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 255)
_SIDES = (128, 256, 384, 512, 768, 1024, 2048, 4096)


class Metrics:
    """Metrics of one server, in a separate registry."""

    def __init__(self, *, model: str, precision: str, provider: str, version: str) -> None:
        # A series for the creation time of each metric, which is useless if nothing is ever reset.
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        counter = partial(prometheus.Counter, registry=self.registry)
        gauge = partial(prometheus.Gauge, registry=self.registry)
        histogram = partial(prometheus.Histogram, registry=self.registry)
        self.requests = counter(
            "ctonnx_requests", "Requests, by route and status of the response.", ["route", "status"]
        )
        by_route = "Seconds from a request's head to its complete response, by route."
        self.request_seconds = histogram("ctonnx_request_seconds", by_route, ["route"], buckets=_SECONDS)
        self.images = counter("ctonnx_images", "Images, by outcome: answered or unreadable.", ["outcome"])
        self.classes = counter("ctonnx_predictions", "Images, by predicted class.", ["label"])
        self.decisions = counter("ctonnx_decisions", "Images, by decision.", ["decision"])
        shares = [number / 10 for number in range(1, 11)]
        self.score = histogram("ctonnx_score", "Score of the suspicious classes, 0 to 1.", buckets=shares)
        self.novelty = histogram(
            "ctonnx_novelty_percentile",
            "Percentage of the images that the model was fitted on that are less novel.",
            buckets=_PERCENT,
        )
        self.brightness = histogram("ctonnx_mean_grey", "Mean grey value of an image, 0 to 255.", buckets=_GREY)
        self.side = histogram("ctonnx_image_side", "Longer side of an image in pixels.", buckets=_SIDES)
        self.in_progress = gauge("ctonnx_images_under_way", "Images in progress.")
        self.batch_images = histogram("ctonnx_batch_images", "Images per batch of the model.", buckets=_IMAGES)
        self.model_seconds = histogram("ctonnx_model_seconds", "Seconds of the model for a batch.", buckets=_SECONDS)
        info = gauge("ctonnx_info", "Served model and version.", ["model", "precision", "provider", "version"])
        info.labels(model, precision, provider, version).set(1)

    def count_batch(self, images: int, seconds: float) -> None:
        """Counts a batch that the model computed."""
        self.batch_images.observe(images)
        self.model_seconds.observe(seconds)

    def count_prediction(
        self, result: Mapping[str, Any], *, mean_grey: float | None = None, size: tuple[int, int] | None = None
    ) -> None:
        """Counts the prediction of an image: what its result, mean grey value and size have."""
        self.classes.labels(result["label"]).inc()
        if result["decision"] is not None:
            self.decisions.labels(result["decision"]).inc()
        known = (
            (self.score, result["score"]),
            (self.novelty, result["novelty_percentile"]),
            (self.brightness, mean_grey),
            (self.side, None if size is None else max(size)),
        )
        for histogram, value in known:
            if value is not None:
                histogram.observe(value)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Counts a request after its response."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return prometheus.generate_latest(self.registry)
