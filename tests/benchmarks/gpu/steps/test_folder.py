"""A folder is predicted by a process while the GPU's use is sampled."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ctonnx_bench.gpu.step import Context
from ctonnx_bench.gpu.steps import folder
from ctonnx_bench.gpu.steps.folder import Sampled, make_scans, run, sampling
from ctonnx_bench.measurement.sensors import Gpu


def test_folder_is_predicted_by_a_process(exported_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_INTERVAL_S", 0.01)
    monkeypatch.setattr(Gpu, "here", lambda: SimpleNamespace(busy_share=0.75))
    run(exported_context)
    [row] = exported_context.recorded.tables["Folder"]
    assert (row["model"], row["scans"], row["idle_share"]) == ("model.fp32.onnx", 6, 0.25)
    assert row["images_per_s"] == pytest.approx(6 / row["duration_s"])
    assert row["peak_mb"] > 10
    seconds, busy = exported_context.recorded.series["GPU busy"]
    assert len(seconds) == len(busy) > 0
    assert exported_context.recorded.failures == []


def test_scans_are_links_to_a_few_different_ones(tmp_path: Path) -> None:
    for _ in range(2):  # an earlier folder is replaced
        files = sorted(make_scans(tmp_path / "scans", 5, 2).glob("*.png"))
    assert len(files) == 5
    assert len({file.stat().st_ino for file in files}) == 2


def test_use_is_sampled_until_the_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_INTERVAL_S", 0.001)
    shares = iter([0.0, 0.0, 0.5, 1.0])

    class Busy(Gpu):
        @property
        def busy_share(self) -> float | None:
            return next(shares, 0.75)

    with sampling(Busy(None)) as sampled:
        until = time.monotonic() + 10
        while len(sampled.busy) < 5 and time.monotonic() < until:
            time.sleep(0.001)
    count = len(sampled.busy)
    time.sleep(0.02)
    assert len(sampled.busy) == count
    assert sampled.busy[:4] == [0.0, 0.0, 0.5, 1.0]


def test_idle_share_begins_with_the_first_computation() -> None:
    assert Sampled([0.1, 0.2, 0.3], [0.0, 0.5, 1.0]).idle_share == 0.25
    assert Sampled([0.1], [0.0]).idle_share is None
    assert Sampled().idle_share is None
