"""The worker: only the network is timed, and every output of a timed run is checked."""

import gc
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from ctonnx.artifacts.golden import load_golden
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.cases.adapters import adapter
from ctonnx_bench.cases.adapters.adapter import Network
from ctonnx_bench.cases.task import Task
from ctonnx_bench.measurement import worker
from ctonnx_bench.measurement.worker import batches_of, main, timed_loop, without_collector, work


@pytest.fixture
def task(model: Path, tmp_path: Path) -> Task:
    golden = load_golden(model.parent / "golden.npz")
    np.save(tmp_path / "pixels.npy", golden.pixels[:3])
    pixels, outputs = (str(tmp_path / name) for name in ("pixels.npy", "outputs.npz"))
    return Task(adapter="ctonnx", model=model, provider="cpu", threads=1, pixels=pixels, outputs=outputs)


def test_batches_contain_every_image_and_are_full() -> None:
    assert batches_of(4, 2).tolist() == [[0, 1], [2, 3]]
    assert batches_of(2, 5).tolist() == [[0, 1, 0, 1, 0]]


def test_loop_runs_the_batches_in_turn() -> None:
    seen: list[str] = []
    kept: list[tuple[int, str]] = []

    def run(batch: str) -> str:
        seen.append(batch)
        return batch.upper()

    samples: list[float] = []
    while len(seen) < 3:
        samples += timed_loop(run, ["a", "b"], 0.001, lambda number, result: kept.append((number, result)))
    assert len(samples) == len(seen)
    assert min(samples) > 0
    assert set(seen) == {"a", "b"}
    assert kept[:2] == [(0, "A"), (1, "B")]


@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_collector_is_disabled_and_then_restored(collecting: bool) -> None:
    try:
        if not collecting:
            gc.disable()
        with pytest.raises(ZeroDivisionError), without_collector():
            1 / gc.isenabled()  # fails if it is disabled
        assert gc.isenabled() is collecting
    finally:
        gc.enable()


@pytest.mark.parametrize("least", [1, 5])
def test_loop_has_the_minimum_number_of_runs_in_no_time(least: int) -> None:
    assert len(timed_loop(lambda batch: batch, [1], 0.0, lambda number, result: None, least)) == least


@pytest.mark.parametrize("bound", [False, True], ids=["host", "bound"])
def test_outputs_are_the_predictors_and_then_compared_with_timed_ones(task: Task, model: Path, bound: bool) -> None:
    task = replace(task, bound=bound, batch_size=2)
    first = work(task)
    assert set(first) == {"open_s", "first_run_s", "first_output_at"}
    with np.load(task.outputs) as arrays, Predictor(model) as predictor:
        expected = predictor.predict_pixels(np.load(task.pixels))
        assert arrays["probabilities"].shape == expected.probabilities.shape
        np.testing.assert_allclose(arrays["probabilities"], expected.probabilities, atol=1e-6)
        np.testing.assert_allclose(arrays["heatmap"], expected.heatmap, atol=1e-5)
    report = work(replace(task, seconds=0.01))
    assert report["largest_dp"] <= 1e-6
    assert max(report["largest_dlogit"], report["largest_dheatmap"]) <= 1e-5
    assert len(report["warm_up_s"]) >= 3
    assert len(report["samples_s"]) >= 5
    assert min(report["samples_s"]) > 0
    assert report["peak_bytes"] > 20_000_000
    assert report["device_bytes"] is None
    json.dumps(report)


@pytest.mark.parametrize(("value", "largest"), [(0.25, 0.25), (np.nan, np.inf)])
def test_output_that_changes_while_it_is_timed_is_found(
    task: Task, monkeypatch: pytest.MonkeyPatch, value: float, largest: float
) -> None:
    rows = [np.array([[0.5, 0.5 + added]], np.float32) for added in (0, 0, 0, value)]

    def run(pixels: Any) -> Outputs:
        row = rows[min(len(calls), 3)]
        calls.append(len(pixels))
        return Outputs(np.repeat(row, len(pixels), axis=0), row, row)

    calls: list[int] = []
    monkeypatch.setattr(adapter, "adapter_module", lambda name: _Adapter(run))
    half = np.full((3, 2), 0.5, np.float32)
    np.savez(task.outputs, probabilities=half, logits=half, heatmap=half)
    report = work(replace(task, seconds=0.0))
    assert report["largest_dp"] == pytest.approx(largest)
    assert report["largest_dlogit"] == report["largest_dheatmap"] == pytest.approx(2 * largest)


def test_garbage_is_collected_before_the_warm_up_and_neither_later_nor_while_it_is_timed(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collecting evicts the model from the caches: the runs after it are slower."""
    collected: list[int] = []
    enabled: list[bool] = []

    def run(pixels: Any) -> Outputs:
        enabled.append(gc.isenabled())
        row = np.zeros((len(pixels), 2), np.float32)
        return Outputs(row, row, row)

    monkeypatch.setattr(worker, "gc", Mock(wraps=gc, collect=lambda: collected.append(len(enabled))))
    monkeypatch.setattr(adapter, "adapter_module", lambda name: _Adapter(run))
    zeros = np.zeros((3, 2), np.float32)
    np.savez(task.outputs, probabilities=zeros, logits=zeros, heatmap=zeros)
    report = work(replace(task, seconds=0.0))
    assert collected == [1]  # after the first run
    assert enabled == [True, *[False] * (len(report["warm_up_s"]) + len(report["samples_s"]))]
    assert gc.isenabled()


class _Adapter:
    def __init__(self, run: Callable[[Any], Outputs]) -> None:
        self.run = run

    def open_network(self, opening: object) -> Network:
        return Network(self.run)


def test_files_are_timed_from_reading_to_the_prediction(task: Task, model: Path, phantoms: Path) -> None:
    files = tuple(str(file) for file in sorted((phantoms / "test").rglob("*.png"))[:3])
    with Predictor(model) as predictor:
        how, expected = predictor.spec.preprocessing, [predictor.predict(file) for file in files]
    window = {"center": -600.0, "width": 1500.0}
    preprocessing = {"size": how.size, "color": how.color, "resize": how.resize}
    work(replace(task, files=files, preprocessing=preprocessing, window=window))
    with np.load(task.outputs) as arrays:
        logits = arrays["logits"]
    np.testing.assert_allclose(logits, np.stack([prediction.logits for prediction in expected]), atol=1e-4)


def test_error_of_ctonnx_is_the_report(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "task.json"
    file.write_text(replace(task, provider="cuda").to_json(), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["worker", str(file)])
    main()
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["kind"] == "ProviderError"
    assert report["error"].startswith("the provider 'cuda' ")


def test_any_error_of_a_peer_is_the_report_but_not_of_ctonnx(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr(adapter, "adapter_module", fail)
    file = tmp_path / "task.json"
    monkeypatch.setattr(sys, "argv", ["worker", str(file)])
    file.write_text(replace(task, adapter="onnxruntime").to_json(), encoding="utf-8")
    main()
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report == {"error": "ZeroDivisionError: no luck", "kind": "ZeroDivisionError"}
    file.write_text(task.to_json(), encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        main()
