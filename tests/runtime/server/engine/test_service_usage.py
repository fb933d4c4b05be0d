"""Images are counted in the metrics, all of them, and in the log, one of each request."""

from pathlib import Path

import numpy as np
from tests.runtime.server.conftest import encoded, multipart, running

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.monitoring.usage_log import UsageLog, days_in_use, read_counts
from ctonnx.server.settings import Settings


def test_one_image_of_each_request_is_logged_and_all_are_in_the_metrics(predictor: Predictor, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    scans = [encoded(random.integers(0, 256, (40, 50 + number), np.uint8)) for number in range(3)]
    file = tmp_path / "usage"
    with (
        UsageLog(file, "m", lambda line: None) as log,
        running(predictor, Settings(), usage=log) as server,
    ):
        body, kind = multipart(*scans, b"damaged")
        results = server.classify(body, kind).json["results"]
        server.classify(b"damaged", "image/png")
        answered = [result for result in results if result["error"] is None]
        assert len(answered) == 3
        for label in {result["label"] for result in answered}:
            count = sum(result["label"] == label for result in answered)
            assert server.metric(f'ctonnx_predictions_total{{label="{label}"}}') == count
        assert server.metric("ctonnx_image_side_count") == server.metric("ctonnx_mean_grey_count") == 3
        assert server.metric('ctonnx_image_side_bucket{le="128.0"}') == 3
        names = "positive", "negative", "refer"
        decided = sum(server.metric(f'ctonnx_decisions_total{{decision="{name}"}}') for name in names)
        assert decided == sum(result["decision"] is not None for result in answered)
        size = predictor.spec.preprocessing.size
        pixels = {
            "name": "pixels",
            "datatype": "UINT8",
            "shape": [2, size, size, 3],
            "data": [0] * (2 * size * size * 3),
        }
        assert server.infer({"inputs": [pixels]}).status == 200
        assert server.metric("ctonnx_image_side_count") == 3
    (images,) = days_in_use(file, "m").values()
    assert images == 2  # of the files, and of the tensor
    found = read_counts(file, "m", *[next(iter(days_in_use(file, "m")))] * 2)
    (bin_,) = found["size"]
    assert bin_ in {"50x40", "51x40", "52x40"}
    assert sum(found["brightness"].values()) == 1
