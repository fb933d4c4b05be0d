"""Every network is measured and compared; a peer that fails is a note, ctonnx a failure; so is a wrong benchmark."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.run import Run
from ctonnx.inference.cuda import cuda_options
from ctonnx.parity.outputs import Outputs
from ctonnx_bench.cases.adapters.adapter import Network, open_network
from ctonnx_bench.gpu.settings import KitSettings
from ctonnx_bench.gpu.step import RUN, Context
from ctonnx_bench.gpu.steps import latency
from ctonnx_bench.gpu.steps.latency import SETTINGS, run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces compiling, and `ctonnx bench` by a document of one right case; returns its commands."""
    commands: list[str] = []

    def bench(settings: Any, *, command: str, log: Any) -> dict[str, Any]:
        commands.append(command)
        return {"cases": [{"title": "ctonnx FP32", "verdict": "right"}], "passed": len(commands) == 1}

    monkeypatch.setattr("torch.compile", lambda network, **options: network)
    monkeypatch.setattr(latency, "run_benchmark", bench)
    monkeypatch.setattr(latency, "write_reports", lambda document, folder: None)
    return commands


def test_networks_are_measured_at_each_batch_size_and_compared(exported_context: Context, quick: list[str]) -> None:
    run(exported_context)
    recorded = exported_context.recorded
    rows = recorded.tables["Latency"]
    titles = ["ctonnx FP32", "PyTorch eager", "PyTorch FP16", "torch.compile FP16"]
    assert [(row["network"], row["batch"]) for row in rows] == [(title, size) for title in titles for size in (1, 2)]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["images_per_s"] == pytest.approx(row["batch"] / row["p50_ms"] * 1e3)
        assert row["max_dp"] < (2e-2 if "FP16" in row["network"] else 1e-4)
    [setting] = recorded.tables["Provider settings"]
    assert (setting["setting"], setting["max_dp"], setting["passes"]) == ("default", 0, True)
    folder = exported_context.output.name
    assert quick == [
        f"ctonnx bench {folder}/work/runs/{RUN}/export/model.fp32.onnx --provider=cpu --batch-size=2 --rounds=1 "
        f"--duration=0.04 --output={folder}/bench"
    ]
    assert recorded.left_out == ["ctonnx FP16: left out, the export wrote no model.fp16.onnx"]
    assert recorded.facts["ctonnx bench"] == {"ctonnx FP32": "right"}
    assert recorded.failures == []
    run(exported_context)
    assert recorded.failures == [
        "ctonnx bench: expected right outputs of every case of ctonnx bench, found wrong ones; see bench/bench.md"
    ]


def test_wrong_outputs_at_any_batch_size_are_a_failure_of_ctonnx_and_a_note_of_a_peer(
    exported_context: Context, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the last golden input is wrong, and only alone in a batch."""
    last = load_golden(exported_context.work / "runs" / RUN / "export/golden.npz").pixels[-1:]

    def opened(name: str, opening: Any) -> Network:
        network = open_network(name, opening)

        def run(pixels: Any) -> Any:
            outputs = network.run(pixels)
            is_wrong = np.array_equal(pixels, last)
            return replace(outputs, probabilities=1 - outputs.probabilities) if is_wrong else outputs

        return replace(network, run=run) if name in ("ctonnx", "pytorch") else network

    monkeypatch.setattr(latency, "open_network", opened)
    run(exported_context)
    recorded = exported_context.recorded
    wrong = "host copies, batch 1: max |dp| is "
    assert [text.partition(wrong)[:2] for text in recorded.failures] == [("ctonnx FP32, ", wrong)]
    assert [text.partition(wrong)[0] for text in recorded.notes if wrong in text] == ["PyTorch eager, "]
    assert [row["max_dp"] > 0.01 for row in recorded.tables["Latency"][:2]] == [True, False]


def test_without_time_nothing_of_ctonnx_passes_unseen(exported_context: Context, quick: list[str]) -> None:
    context = Context(exported_context.settings, exported_context.work, exported_context.output / "r.json", 0.5, Path())
    run(context)
    assert context.recorded.tables == {}
    parts = [text.partition(":")[0] for text in context.recorded.left_out]
    assert parts == ["ctonnx FP32", "ctonnx FP16", "settings of the provider", "ctonnx bench"]
    assert {text.partition(":")[0] for text in context.recorded.notes} >= {"PyTorch eager", "torch.compile FP16"}
    assert quick == []


def test_peer_that_fails_is_a_note_and_ctonnx_a_failure(
    exported_context: Context, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(name: str, opening: Any) -> Any:
        if name in ("ctonnx", "pytorch-fp16"):
            raise ValueError("no luck\nat all")
        return open_network(name, opening)

    monkeypatch.setattr(latency, "open_network", opened)
    run(exported_context)
    recorded = exported_context.recorded
    assert recorded.failures == ["ctonnx FP32: ValueError: no luck"]
    assert "PyTorch FP16: ValueError: no luck" in recorded.notes
    assert {row["network"] for row in recorded.tables["Latency"]} == {"PyTorch eager", "torch.compile FP16"}


def test_on_cuda_both_transfers_are_measured_with_the_ratios_of_the_bounds(
    make_context: Callable[..., Context], tiny: KitSettings
) -> None:
    context = make_context(replace(tiny, provider="cuda", batch_sizes=(32,)))
    for network, transfer, milliseconds in (
        ("ctonnx FP16", "on the device", 4.0),
        ("ctonnx FP16", "host copies", 5.0),
        ("torch.compile FP16", "on the device", 6.0),
    ):
        context.row("Latency", latency.Latency(network, transfer, 32, milliseconds, 0.0, 0.0, 0.0, 1.0))
    latency._compare(context)
    assert context.recorded.facts == {
        "FP16 throughput over torch.compile's, on the device, batch 32": 1.5,
        "FP16 throughput with host copies over that on the device, batch 32": 0.8,
    }


def test_every_setting_of_cuda_is_measured_and_one_that_does_not_run_has_its_error(
    exported_context: Context, tiny: KitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = load_golden(exported_context.work / "runs" / RUN / "export/golden.npz")
    opened: list[dict[str, str]] = []

    def run_bound(model: Path, pixels: Any, context: Context) -> tuple[float, Outputs]:
        options = cuda_options()
        opened.append(options)
        if "enable_cuda_graph" in options:
            raise RuntimeError("a node is on the CPU\nmore")
        wrong = 0.1 if options["use_tf32"] == "1" else 0.0
        outputs = golden.outputs[:2]
        return 0.004, replace(outputs, probabilities=np.asarray(outputs.probabilities + np.float32(wrong)))

    monkeypatch.setattr(latency, "_run_bound", run_bound)
    context = Context(
        replace(tiny, provider="cuda"), exported_context.work, exported_context.output / "r.json", 600, Path()
    )
    latency._measure_settings(context, Run(context.work / "runs" / RUN), golden)
    rows = context.recorded.tables["Provider settings"]
    assert [row["setting"] for row in rows] == list(SETTINGS)
    assert [row["passes"] for row in rows] == [True, False, True, True, True, None]
    assert rows[-1]["problem"] == "a node is on the CPU"
    assert [options.get("prefer_nhwc") for options in opened] == [None, None, None, "1", "1", None]
    json.dumps(rows)


def test_ctonnx_bench_really_runs(exported_context: Context) -> None:
    latency._bench(exported_context, Run(exported_context.work / "runs" / RUN))
    assert exported_context.recorded.facts["ctonnx bench"] == {"ctonnx FP32": "right"}
    assert (exported_context.output / "bench/bench.md").is_file()
