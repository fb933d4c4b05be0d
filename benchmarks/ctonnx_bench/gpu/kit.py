"""Runs the steps within a budget of time, each in a process, and writes the reports after each."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ctonnx.cli.signals import Terminated, signals_as_exceptions
from ctonnx.system.text import Log, escape_control
from ctonnx_bench.gpu.report.files import write_reports
from ctonnx_bench.gpu.settings import KitSettings
from ctonnx_bench.gpu.step import STEPS, Recorded, State, Step, StepResult
from ctonnx_bench.measurement.processes import ProcessFailed, ProcessTimedOut, launch

__all__ = ["SCHEMA_VERSION", "Kit", "run_kit"]

SCHEMA_VERSION = 1
_THIN = Path(__file__).parents[3] / "tests" / "thin"  # its sitecustomize.py is loaded by each process
_LINES = 15  # of a step's output that the report shows
_REPORT_S = 3.0  # of the budget, for the reports themselves


@dataclass
class Kit:
    """A run of the kit.

    Attributes:
        settings: Settings.
        command: Command line, for the report.
        results: Results of the steps so far, in their order.
        stopped: Exit code of the signal that ended it; None if no signal did.
        seconds: Seconds so far.
    """

    settings: KitSettings
    command: str
    results: list[StepResult] = field(default_factory=list)
    stopped: int | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every step has passed."""
        return self.stopped is None and all(result.state == "passed" for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 if every step has passed, 1 if not, or the code of the signal."""
        return self.stopped if self.stopped is not None else 0 if self.passed else 1

    def as_dict(self, *, is_complete: bool) -> dict[str, Any]:
        """Returns the document that is written to gpu-report.json."""
        return {
            "schema_version": SCHEMA_VERSION,
            "tool": "python -m ctonnx_bench.gpu",
            "command": self.command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": self.settings.as_dict(),
            "seconds": round(self.seconds, 1),
            "complete": is_complete,
            "passed": is_complete and self.passed,
            "steps": [result.as_dict() for result in self.results],
        }


def run_kit(settings: KitSettings, output: Path, *, command: str, log: Log, steps: Sequence[Step] = STEPS) -> Kit:
    """Runs the steps in their order, and writes gpu-report.json, gpu-report.md and plots into `output` after each.

    A step that fails, or does not end within its time, does not keep the next ones from running. Ctrl-C, SIGTERM and
    SIGHUP end the step that is running; the reports then contain its values so far, and the steps that did not run.

    Raises:
        OSError: If a report cannot be written.
    """
    kit, start = Kit(settings, command), time.monotonic()
    work = output.resolve() / "work"  # the processes have working folders of their own
    work.mkdir(parents=True, exist_ok=True)
    write_reports(kit.as_dict(is_complete=False), output)
    waiting = list(steps)
    with signals_as_exceptions(), _environment(settings):
        while waiting:
            step = waiting.pop(0)
            left = settings.budget_s - _REPORT_S - (time.monotonic() - start)
            log(f"[{len(kit.results) + 1}/{len(steps)}, {max(0.0, left):.0f} s left] {step.title}")
            try:
                result = _run(step, settings, work, output, left)
            except KeyboardInterrupt as stop:
                kit.stopped = stop.exit_code if isinstance(stop, Terminated) else 130
                signal = "a signal" if isinstance(stop, Terminated) else "Ctrl-C"
                recorded = Recorded.read(work / step.name / "record.json")
                result = _without_running(step, "cut", f"stopped by {signal}", recorded)
                others = (_without_running(other, "left out", f"stopped by {signal}") for other in waiting)
                kit.results += [result, *others]
                waiting.clear()
            else:
                kit.results.append(result)
            log(f"  {result.state} in {result.seconds:.1f} s{f': {result.reason}' if result.reason else ''}")
            kit.seconds = time.monotonic() - start
            write_reports(kit.as_dict(is_complete=not waiting), output)
    return kit


@contextmanager
def _environment(settings: KitSettings) -> Iterator[None]:
    """Sets the environment of the steps' processes within the block."""
    before = dict(os.environ)
    if not settings.compiles:
        os.environ["TORCH_COMPILE_DISABLE"] = "1"
    if settings.thin:
        folders = [str(_THIN), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(step: Step, settings: KitSettings, work: Path, output: Path, left: float) -> StepResult:
    """Runs a step in a process of its own, whose output stays in its folder."""
    if left < step.least_s:
        reason = f"{max(0.0, left):.0f} s of the budget of {settings.budget_s:.0f} s left, {step.least_s:.0f} s needed"
        return _without_running(step, "left out", reason)
    folder, limit = work / step.name, min(step.most_s, left)
    folder.mkdir(exist_ok=True)
    record, task = folder / "record.json", folder / "task.json"
    record.unlink(missing_ok=True)
    values = {
        "step": step.name,
        "settings": settings.as_dict(),
        "work": str(work.resolve()),
        "output": str(output.resolve()),
        "record": str(record.resolve()),
        "seconds": limit,
    }
    task.write_text(json.dumps(values), encoding="utf-8")
    start = time.monotonic()
    state: State = "passed"
    reason = ""
    try:
        launch([sys.executable, "-P", "-m", "ctonnx_bench.gpu.worker", str(task.resolve())], folder, limit)
    except ProcessTimedOut:
        state = "cut"
        reason = f"it had not ended after {limit:.0f} s" + ("" if limit == step.most_s else ", the rest of the budget")
    except ProcessFailed as error:
        state, reason = "failed", error.message.strip().splitlines()[-1]
    recorded = Recorded.read(record)
    if recorded.failures and state == "passed":
        state, reason = "failed", recorded.failures[0]
    elif recorded.left_out and state == "passed":
        state, reason = "incomplete", recorded.left_out[0]
    return StepResult(
        step=step.name,
        title=step.title,
        state=state,
        seconds=round(time.monotonic() - start, 1),
        reason=reason,
        output=() if state == "passed" else _last_lines(folder),
        recorded=recorded,
    )


def _without_running(step: Step, state: State, reason: str, recorded: Recorded | None = None) -> StepResult:
    return StepResult(step=step.name, title=step.title, state=state, reason=reason, recorded=recorded or Recorded())


def _last_lines(folder: Path) -> tuple[str, ...]:
    """Returns the last lines that a step wrote to stdout and stderr."""
    lines = [line for name in ("stdout", "stderr") for line in _lines_of(folder / name)]
    return tuple(lines[-_LINES:])


def _lines_of(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    return [escape_control(line) for line in text.splitlines() if line.strip()]
