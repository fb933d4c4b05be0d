"""Values of a step are on the disk as soon as they are recorded."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from ctonnx_bench.gpu.step import STEPS, Context, Recorded, StepResult


@dataclass(frozen=True)
class Line:
    name: str
    speed_ms: float


def test_steps_are_in_the_order_of_the_issue_and_each_has_a_module() -> None:
    assert [step.name for step in STEPS] == [
        "facts",
        "device_tests",
        "training",
        "export",
        "verification",
        "latency",
        "folder",
        "server",
        "rejections",
    ]
    for step in STEPS:
        assert callable(import_module(f"ctonnx_bench.gpu.steps.{step.name}").run)


def test_every_value_is_on_the_disk_at_once(make_context: Callable[..., Context], tmp_path: Path) -> None:
    context, file = make_context(), tmp_path / "record.json"
    assert Recorded.read(file) == Recorded()
    context.fact("driver", "590.1")
    context.row("Speed", Line("a", 1.5))
    assert Recorded.read(file) == Recorded(
        facts={"driver": "590.1"}, tables={"Speed": [{"name": "a", "speed_ms": 1.5}]}
    )
    context.course("GPU busy", [0.1], [0.5])
    context.note("a part was left out")
    context.fail("too slow")
    assert Recorded.read(file) == context.recorded
    assert context.recorded.failures == ["too slow"]


def test_part_without_time_is_left_out_and_a_peer_only_noted(make_context: Callable[..., Context]) -> None:
    context = make_context(seconds=10)
    assert context.has_time(5, "NHWC")
    assert not context.has_time(60, "compiling")
    assert context.recorded.left_out[0].startswith("compiling: left out, about 60 s needed, ")
    assert context.recorded.notes == []
    assert not context.has_time(60, "a peer", is_peer=True)
    assert context.recorded.notes[0].startswith("a peer: left out, about 60 s needed, ")
    assert len(context.recorded.left_out) == 1


def test_result_is_one_flat_entry_of_the_report() -> None:
    result = StepResult(step="facts", title="Facts", state="passed", recorded=Recorded(facts={"gpu": "H"}))
    assert result.as_dict() == {
        "step": "facts",
        "title": "Facts",
        "state": "passed",
        "seconds": 0.0,
        "reason": "",
        "output": (),
        "facts": {"gpu": "H"},
        "tables": {},
        "series": {},
        "notes": [],
        "left_out": [],
        "failures": [],
    }


def test_steps_without_pytorch_do_not_import_it() -> None:
    """Importing Lightning takes longer than any of these steps in the rehearsal."""
    names = [f"ctonnx_bench.gpu.steps.{name}" for name in ("verification", "latency", "folder", "server", "rejections")]
    code = f"import sys, {', '.join(names)}; print({{'torch', 'lightning'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
