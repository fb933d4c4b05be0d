"""The measurements of a case from its raw samples, and warnings about unreliable ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.benchmarks.conftest import QUIET

from ctonnx_bench.analysis.statistics import find_warnings, marks, median_interval, mlperf, summarize
from ctonnx_bench.measurement.rounds import Round


def test_measurements_are_over_all_rounds_without_the_warm_up() -> None:
    first = replace(QUIET, samples_s=(0.001, 0.002), cold_start_s=0.7, peak_bytes=300, joules={"cpu": 0.4})
    second = replace(QUIET, samples_s=(0.003, 0.004, 0.005), cold_start_s=0.5, joules={"cpu": 0.6})
    measured = summarize([first, second], 4)
    assert measured["runs"] == 5
    assert measured["latency_ms"] == pytest.approx(
        {"p50": 3.0, "p90": None, "p95": None, "p99": None, "mean": 3.0, "iqr": 2.0, "min": 1.0, "max": 5.0}
    )
    assert measured["images_per_s"] == pytest.approx(20 / 0.015)
    assert measured["cold_start_s"] == pytest.approx(0.6)
    assert measured["first_run_ms"] == pytest.approx(30)
    assert measured["peak_bytes"] == 300
    assert measured["device_bytes"] is None
    assert measured["joules_per_image"] == pytest.approx({"cpu": 0.05})


@pytest.mark.parametrize(
    ("rounds", "warnings"),
    [
        ([QUIET, QUIET], []),
        (
            [replace(QUIET, samples_s=(0.010, 0.012) * 50)] * 2,
            ["noisy: the interquartile range is 18.2% of the median"],
        ),
        (
            [QUIET, replace(QUIET, samples_s=(0.0112,) * 100)],
            [
                "noisy: the interquartile range is 11.3% of the median",
                "uneven: the rounds' medians differ by 12%; use more --rounds",
            ],
        ),
        ([QUIET] * 8 + [replace(QUIET, samples_s=(0.0112,) * 100)], []),  # one of nine is left out on each side
        (
            [replace(QUIET, others_share=0.3), QUIET],
            ["busy: other programs used up to 30% of the cores' time"],
        ),
        # Beyond a bound by less than a digit: the value shows it.
        (
            [replace(QUIET, others_share=0.0504)] * 2,
            ["busy: other programs used up to 5.04% of the cores' time"],
        ),
        (
            [*[QUIET] * 4, replace(QUIET, samples_s=(0.01104,) * 100)],
            ["uneven: the rounds' medians differ by 10.4%; use more --rounds"],
        ),
        (
            [replace(QUIET, samples_s=(0.010, 0.0110571) * 50)] * 2,
            ["noisy: the interquartile range is 10.04% of the median"],
        ),
        (
            [replace(QUIET, samples_s=(0.010,) * 9), replace(QUIET, samples_s=(0.010,) * 10)],
            ["few: 19 runs, too few for a reliable spread; use a longer --duration"],
        ),
        ([replace(QUIET, samples_s=(0.010,) * 10)] * 2, []),
        ([replace(QUIET, slowdowns=("heat",)), replace(QUIET, slowdowns=("heat",))], ["throttled: heat"]),
    ],
)
def test_unreliable_measurements_have_warnings(rounds: list[Round], warnings: list[str]) -> None:
    assert find_warnings(rounds, summarize(rounds, 1), threads=2, cores=2) == warnings


@pytest.mark.parametrize(
    ("count", "least", "greatest"), [(1, 0, 0), (3, 0, 2), (5, 0, 4), (6, 0, 5), (8, 0, 7), (9, 1, 7), (20, 5, 14)]
)
def test_interval_of_the_median_is_that_of_the_tables(count: int, least: int, greatest: int) -> None:
    """The ranks of nonparametric intervals at 95 % (Conover 1999, Practical Nonparametric Statistics, 3.2)."""
    values = np.random.default_rng(count).permutation(count).astype(float).tolist()
    assert median_interval(values) == (least, greatest)


def test_interval_contains_the_median_as_often_as_its_confidence() -> None:
    draws = np.random.default_rng(0).exponential(size=(2000, 9))
    contains = [low <= np.log(2) <= high for low, high in map(median_interval, draws.tolist())]
    assert np.mean(contains) == pytest.approx(0.961, abs=0.015)


def test_more_threads_than_cores_give_a_warning() -> None:
    measured = summarize([QUIET] * 2, 1)
    assert find_warnings([QUIET] * 2, measured, threads=3, cores=2) == ["crowded: 3 threads on 2 available cores"]


def test_single_round_gives_a_warning() -> None:
    measured = summarize([QUIET], 1)
    assert find_warnings([QUIET], measured, threads=2, cores=2) == ["alone: only one round; use more --rounds"]


@pytest.mark.parametrize(
    ("runs", "available"), [(9, []), (10, [90]), (20, [90, 95]), (99, [90, 95]), (100, [90, 95, 99])]
)
def test_percentiles_need_as_many_runs_as_some_are_above_them(runs: int, available: list[int]) -> None:
    latency = summarize([replace(QUIET, samples_s=tuple(np.linspace(1, 2, runs)))], 1)["latency_ms"]
    assert [name for name in (90, 95, 99) if latency[f"p{name}"] is not None] == available
    if 99 in available:
        assert latency["p99"] == pytest.approx(1990)


def case(title: str, batch_size: int, milliseconds: float) -> dict[str, Any]:
    samples = tuple(np.linspace(milliseconds, 2 * milliseconds, 11) / 1e3)
    return {
        "verdict": "right",
        "doubts": ["noisy: 20%"] if batch_size == 1 else [],
        "title": title,
        "batch_size": batch_size,
        "figures": summarize([replace(QUIET, samples_s=samples)], batch_size),
    }


def test_mlperf_uses_the_90th_percentile_of_one_image_and_the_highest_throughput() -> None:
    found = mlperf([case("a", 1, 10), case("a", 8, 20), case("a", 32, 1000), case("b", 8, 20)])
    assert found["a"]["single_stream_ms"] == pytest.approx(19)
    assert found["a"]["offline_images_per_s"] == pytest.approx(8 / 0.030)
    assert found["a"]["offline_batch_size"] == 8
    assert (found["a"]["doubted"], found["a"]["offline_doubted"]) == (True, False)
    assert found["b"]["single_stream_ms"] is None


@pytest.mark.parametrize("verdict", ["wrong", "not shown", "reference", "unjudged"])
def test_case_whose_verdict_is_not_right_has_no_mlperf_result(verdict: str) -> None:
    assert mlperf([{**case("a", 1, 10), "verdict": verdict}]) == {}


def test_unreliable_and_slowed_cases_have_marks() -> None:
    assert marks({"doubts": []}) == ""
    assert marks({"doubts": ["noisy: 20%", "few: 3 runs"]}) == " ~"
    assert marks({"doubts": ["noisy: 20%", "throttled: heat"]}) == " ~!"
