"""The rounds: one process at a time, in alternating order, and failed cases."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.errors import CtonnxError, ProviderError
from ctonnx.system.files import json_text
from ctonnx_bench.cases.case import Case, plan_cases
from ctonnx_bench.cases.contenders import Contender
from ctonnx_bench.cases.images import CheckImages
from ctonnx_bench.cases.task import Task
from ctonnx_bench.measurement import rounds
from ctonnx_bench.measurement.processes import Measured, ProcessFailed, Sample
from ctonnx_bench.measurement.rounds import Bench, CaseFailed, Round
from ctonnx_bench.measurement.sensors import Gpu

REPORT = {
    "open_s": 0.1,
    "first_run_s": 0.2,
    "first_output_at": 101.5,
    "samples_s": [0.01],
    "warm_up_s": [0.02],
    "largest_dp": 0.0,
    "largest_dlogit": 0.0,
    "largest_dheatmap": 0.0,
    "peak_bytes": 1,
    "device_bytes": None,
    "joules": {},
    "slowdowns": [],
    "others_share": 0.0,
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, CheckImages("some", np.zeros((2, 8, 8, 3), np.uint8), np.array([-1, -1])), {}, {})


@pytest.fixture
def cases() -> list[Case]:
    mine = Contender("ctonnx FP32", "ctonnx", Path("m.onnx"), "fp32", 1)
    return plan_cases([mine, replace(mine, title="Peer", adapter="onnxruntime")], [1], provider="cpu", threads=1)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Task], Callable[[dict[str, Any]], None]]:
    """Records the tasks instead of running them, and returns a report that can be chosen."""
    tasks: list[Task] = []
    report: dict[str, Any] = dict(REPORT)

    def note(command: Sequence[str], folder: Path, limit_s: float | None = None) -> Measured:
        assert limit_s is not None
        tasks.append(Task.from_json(Path(command[-1]).read_text(encoding="utf-8")))
        return Measured(Sample(1.0, 1), 100.0, "noise of a library\n" + json_text(report).replace("\n", ""), "")

    def choose(chosen: dict[str, Any]) -> None:
        report.clear()
        report.update(chosen)

    monkeypatch.setattr(rounds, "launch", note)
    return tasks, choose


def test_order_alternates_between_rounds(bench: Bench, cases: list[Case], launched: Any) -> None:
    tasks, _ = launched
    messages: list[str] = []
    found, failed, broken = bench.measure(cases, rounds=3, seconds=2.0, log=messages.append)
    assert (failed, broken) == ({}, {})
    assert [task.adapter for task in tasks] == [
        "ctonnx", "onnxruntime", "onnxruntime", "ctonnx", "ctonnx", "onnxruntime",
    ]  # fmt: skip
    assert messages[:2] == ["[1/6] ctonnx FP32, batch 1", "[2/6] Peer, batch 1"]
    assert messages[-1] == "[6/6, at most a minute left] Peer, batch 1"
    assert {task.seconds for task in tasks} == {2.0}
    assert len({task.outputs for task in tasks}) == 2
    assert [len(done) for done in found.values()] == [3, 3]
    first = found[cases[0]][0]
    assert (first.cold_start_s, first.samples_s, first.warm_up_s) == (1.5, (0.01,), (0.02,))


def test_remaining_time_is_logged_from_the_second_round_on(
    bench: Bench, cases: list[Case], launched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, _ = launched
    monkeypatch.setattr("ctonnx_bench.measurement.rounds.time.monotonic", lambda: 1000.0 + 50 * len(tasks))
    messages: list[str] = []
    bench.measure(cases, rounds=2, seconds=2.0, log=messages.append)
    assert messages == [
        "[1/4] ctonnx FP32, batch 1",
        "[2/4] Peer, batch 1",
        "[3/4, about 2 min left] Peer, batch 1",
        "[4/4, at most a minute left] ctonnx FP32, batch 1",
    ]


def test_error_of_ctonnx_is_raised_with_its_type(bench: Bench, cases: list[Case], launched: Any) -> None:
    _, choose = launched
    choose({"error": "no GPU", "kind": "ProviderError"})
    with pytest.raises(ProviderError, match="no GPU"):
        bench.round(cases[0], 1.0)
    with pytest.raises(CaseFailed, match="no GPU"):
        bench.round(cases[1], 1.0)


def test_peer_that_fails_in_a_later_round_is_left_out(
    bench: Bench, cases: list[Case], monkeypatch: pytest.MonkeyPatch, launched: Any
) -> None:
    tasks, choose = launched
    original = Bench.round

    def fail(self: Bench, case: Case, seconds: float) -> Round:
        if case.title == "Peer" and len(tasks) > 2:
            choose({"error": "no memory", "kind": "MemoryError"})
        else:
            choose(REPORT)
        return original(self, case, seconds)

    monkeypatch.setattr(Bench, "round", fail)
    found, failed, _ = bench.measure(cases, rounds=4, seconds=1.0, log=lambda line: None)
    assert failed == {"Peer": "it failed: no memory"}
    assert [(case.title, len(done)) for case, done in found.items()] == [("ctonnx FP32", 4)]
    assert [task.adapter for task in tasks].count("onnxruntime") == 3


def test_case_of_ctonnx_that_fails_in_a_later_round_loses_nothing_of_the_others(
    bench: Bench, cases: list[Case], monkeypatch: pytest.MonkeyPatch, launched: Any
) -> None:
    tasks, choose = launched
    original = Bench.round

    def fail(self: Bench, case: Case, seconds: float) -> Round:
        late = case.contender.own and len(tasks) > 2
        choose({"error": "no memory", "kind": "ModelError"} if late else REPORT)
        return original(self, case, seconds)

    monkeypatch.setattr(Bench, "round", fail)
    messages: list[str] = []
    found, failed, broken = bench.measure(cases, rounds=4, seconds=1.0, log=messages.append)
    assert (failed, broken) == ({}, {cases[0]: "no memory"})
    assert [(case.title, len(done)) for case, done in found.items()] == [("ctonnx FP32", 1), ("Peer", 4)]
    assert messages.count("FAILED: no memory") == 1


def test_failed_process_is_reported_in_one_line(
    bench: Bench, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: Sequence[str], folder: Path, limit_s: float | None = None) -> Measured:
        raise ProcessFailed("it ended with -9:\nTraceback\nMemoryError: too much")

    monkeypatch.setattr(rounds, "launch", fail)
    with pytest.raises(CtonnxError, match=r"to run, found that its process failed: MemoryError: too much"):
        bench.outputs(cases[0])
    with pytest.raises(CaseFailed, match=r"^MemoryError: too much$"):
        bench.outputs(cases[1])


def test_peer_prepares_its_model_with_other_images_than_the_checked_ones(
    tmp_path: Path, cases: list[Case], launched: Any
) -> None:
    tasks, choose = launched
    model = tmp_path / "its.xml"
    model.write_bytes(b"12")
    model.with_suffix(".bin").write_bytes(b"345")
    choose({"model": str(model)})
    pixels, others = np.zeros((1, 8, 8, 3), np.uint8), np.ones((4, 8, 8, 3), np.uint8)
    bench = Bench(tmp_path, CheckImages("some", pixels, np.array([-1]), calibration=others), {}, {})
    contender = bench.prepare(cases[1]).contender
    assert (contender.model, contender.size) == (model, 5)
    assert np.load(tasks[0].pixels).shape == (4, 8, 8, 3)
    assert tasks[0].prepare == str(tmp_path)


def test_memory_of_the_gpu_is_read_before_the_process_starts(
    bench: Bench, cases: list[Case], launched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, _ = launched
    monkeypatch.setattr(Gpu, "used_bytes", 123)
    bench.round(cases[0], 1.0)
    bench.round(replace(cases[0], provider="openvino"), 1.0)
    bench.round(replace(cases[0], provider="cuda"), 1.0)
    assert [task.used_bytes for task in tasks] == [None, None, 123]


def test_files_are_part_of_the_task(tmp_path: Path, cases: list[Case], launched: Any) -> None:
    tasks, _ = launched
    images = CheckImages("some", np.zeros((1, 8, 8, 3), np.uint8), np.array([-1]), ("a.png",))
    Bench(tmp_path, images, {"size": 8}, {"width": 1.0}).round(cases[0], 1.0)
    assert (tasks[0].files, tasks[0].preprocessing, tasks[0].window) == (("a.png",), {"size": 8}, {"width": 1.0})
