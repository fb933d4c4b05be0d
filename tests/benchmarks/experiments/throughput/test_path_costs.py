"""The steps of an image, their bytes and times, and the limits that are computed from them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx_bench.experiments.throughput.path_costs import STEPS, Costs, limits, main, measure


def test_each_step_of_each_file_is_measured(model: Path, phantoms: Path) -> None:
    costs = measure(model, phantoms / "test", 2)
    files = list((phantoms / "test").rglob("*.png"))
    assert (costs.images, costs.file_bytes) == (len(files), sum(file.stat().st_size for file in files) / len(files))
    assert tuple(costs.seconds) == STEPS
    assert all(seconds > 0 for seconds in costs.seconds.values())
    assert costs.total == pytest.approx(sum(costs.seconds.values()))
    assert 300 < costs.row_bytes < 2000


def test_limits_are_those_of_the_latency_and_the_bandwidth() -> None:
    costs = Costs(1, 260_000, 500, {"decode": 10e-3, "network": 10e-3})
    assert limits(costs) == [
        "| store | images/s per core | MB/s per core | cores at 1 Gbit/s | cores at 10 Gbit/s | cores at 100 Gbit/s |",
        "| --- | --- | --- | --- | --- | --- |",
        "| local disk | 50.0 | 13.0 | 10 | 96 | 962 |",
        "| network drive, 1 ms | 47.6 | 12.4 | 10 | 101 | 1,010 |",
        "| object store, 30 ms | 20.0 | 5.2 | 24 | 240 | 2,404 |",
    ]


def test_both_tables_are_printed(model: Path, phantoms: Path) -> None:
    result = CliRunner().invoke(main, [str(model), str(phantoms / "test"), "--rounds", "1"])
    assert result.exit_code == 0, result.output
    heads = [line for line in result.stdout.splitlines() if line.startswith(("| step", "| store"))]
    assert len(heads) == 2
    named = [row.split(" | ")[0] for row in result.stdout.splitlines()[4:11]]
    assert named == [f"| {step}" for step in (*STEPS, "all")]
