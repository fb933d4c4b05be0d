"""Ranges of activations that each calibrator chooses."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.quantization.calibration import CALIBRATORS, Ranges, collect_ranges
from ctonnx_export.quantization.qdq import quantized_tensors


def test_calibrators_are_those_that_the_search_tries() -> None:
    assert CALIBRATORS == (
        "minmax",
        "moving-average",
        "percentile-99.9",
        "percentile-99.99",
        "percentile-99.999",
        "entropy",
    )


def test_minmax_is_all_that_was_seen_and_moving_average_the_mean_of_the_images() -> None:
    ranges = Ranges(["x"])
    ranges.add("x", np.array([[-1, 4], [-3, 2]], np.float32))
    ranges.add("x", np.array([[0, 9]], np.float32))
    assert ranges.of("minmax") == {"x": (-3.0, 9.0)}
    assert ranges.of("moving-average")["x"] == pytest.approx((-4 / 3, 5.0))


def test_percentile_and_entropy_cut_off_a_lonely_outlier_and_minmax_does_not() -> None:
    values = np.random.default_rng(0).normal(0, 1, (1, 16_000)).astype(np.float32)
    values[0, 5] = 40
    ranges = Ranges(["x"])
    for _ in range(20):
        ranges.add("x", values[:, :5])  # the first values do not fix how far the histogram reaches
        ranges.add("x", np.delete(values, 5, axis=1))
    ranges.add("x", values[:, :6])
    found = {calibrator: ranges.of(calibrator)["x"] for calibrator in CALIBRATORS}
    assert found["minmax"][1] == 40
    highest = [bounds[1] for calibrator, bounds in found.items() if calibrator.startswith("percentile")]
    assert highest == sorted(highest)
    assert 3 < highest[0] < highest[2] < 10
    assert 1 < found["entropy"][1] < 20
    assert found["percentile-99.9"][0] >= found["minmax"][0]


def test_histograms_see_a_sample_of_large_maps_and_the_extremes_see_all() -> None:
    values = np.zeros((1, 100_000), np.float32)
    values[0, 99_999] = 7
    ranges = Ranges(["x"])
    ranges.add("x", values)
    assert ranges.of("minmax") == {"x": (0.0, 7.0)}
    assert sum(ranges._histograms.get_histogram_dict()["x"][0]) < 17_000


def test_ranges_do_not_depend_on_how_many_images_are_run_at_a_time(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8]
) -> None:
    tensors = quantized_tensors(small_model)
    seen: list[int] = []
    once = collect_ranges(small_model, tensors, [scans], progress=seen.append)
    by_fours = collect_ranges(small_model, tensors, np.split(scans, 6))
    assert seen == [24]
    for calibrator in ("minmax", "moving-average"):
        first, second = once.of(calibrator), by_fours.of(calibrator)
        assert list(first) == list(tensors)
        for name in tensors:
            assert first[name] == pytest.approx(second[name], rel=1e-5, abs=1e-5)


def test_ranges_are_those_of_the_models_own_activations(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    normalized = (scans.astype(np.float32) - 120) / 60
    found = collect_ranges(small_model, ["normalized", "logits"], [scans]).of("minmax")
    assert found["normalized"] == pytest.approx((normalized.min(), normalized.max()))
    logits = run_onnx(small_model, [scans]).logits
    assert found["logits"] == pytest.approx((logits.min(), logits.max()), rel=1e-5)


def test_memory_grows_by_two_numbers_per_image_and_tensor(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8]
) -> None:
    tensors = quantized_tensors(small_model)
    few, many = (collect_ranges(small_model, tensors, [scans] * repeats) for repeats in (1, 5))

    def bins(ranges: Ranges) -> int:
        return sum(len(histogram[0]) for histogram in ranges._histograms.get_histogram_dict().values())

    assert bins(few) == bins(many)
    assert [len(many._lowest[name]) for name in tensors] == [5 * 24] * len(tensors)


def test_histograms_grow_wider_and_not_longer() -> None:
    """A nearly dead channel, an ordinary image, an outlier: the collector alone would want 200 million bins."""
    random = np.random.default_rng(0)
    ranges = Ranges(["x"])
    for scale in (0.0, 1e-4, 1.0, 10.0, 1e-3):
        ranges.add("x", (scale * random.uniform(-1, 1, (2, 1000))).astype(np.float32))
    counts, edges, *_ = ranges._histograms.get_histogram_dict()["x"]
    assert (len(counts), counts.sum()) == (2048, 5 * 2 * 1000)
    assert 10 <= edges[-1] < 20
    low, high = ranges.of("percentile-99.9")["x"]
    assert -10 <= low < -9 < 9 < high <= 10
    assert ranges.of("entropy")["x"][1] <= 10


def test_tensor_that_is_always_zero_has_a_range() -> None:
    ranges = Ranges(["x"])
    for _ in range(2):
        ranges.add("x", np.zeros((1, 100), np.float32))
    assert {calibrator: ranges.of(calibrator)["x"] for calibrator in ("minmax", "moving-average")} == {
        "minmax": (0.0, 0.0),
        "moving-average": (0.0, 0.0),
    }
    assert all(abs(bound) <= 0.5 for calibrator in CALIBRATORS for bound in ranges.of(calibrator)["x"])
