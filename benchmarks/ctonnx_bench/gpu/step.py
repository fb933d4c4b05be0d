"""A step of the kit: its facts, table rows and failures, written as soon as they are recorded, and its state."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from ctonnx.system.files import write_text
from ctonnx_bench.gpu.settings import KitSettings

__all__ = ["RUN", "STEPS", "Context", "Recorded", "Row", "State", "Step", "StepResult"]

RUN = "phantoms"
"""Name of the run on phantoms, in the folder `runs` of the steps' folder; steps after the training measure it."""

State = Literal["passed", "failed", "incomplete", "cut", "left out"]


class Row(Protocol):
    """A row of a table: a frozen dataclass whose fields are the columns."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step, before it runs.

    Attributes:
        name: Name, also that of its module in `ctonnx_bench.gpu.steps`.
        title: Title in the reports.
        most_s: Seconds after which it is cut, on a GPU; less if less of the budget is left.
        least_s: Seconds of the budget without which it is left out.
    """

    name: str
    title: str
    most_s: float
    least_s: float = 5.0


STEPS = (
    Step(name="facts", title="Driver, libraries and a first computation", most_s=45),
    Step(name="device_tests", title="Tests marked `gpu`", most_s=75),
    Step(name="training", title="Training", most_s=210),
    Step(name="export", title="Export", most_s=100),
    Step(name="verification", title="Parity and `ctonnx verify`", most_s=40),
    Step(name="latency", title="Latency and `ctonnx bench`", most_s=230),
    Step(name="folder", title="`ctonnx predict` on a folder", most_s=70),
    Step(name="server", title="`ctonnx serve` under load", most_s=60),
    Step(name="rejections", title="Messages of what cannot run", most_s=60),
)
"""All steps in their order. Each limit has room for a slow GPU; the sum is more than the budget."""


@dataclass
class Recorded:
    """Values that a step has recorded so far.

    Attributes:
        facts: Values by name.
        tables: Rows of each table, by its name.
        series: Measured courses by name, for plots: seconds and values.
        notes: Remarks, such as a peer that was left out, with the reason.
        left_out: Parts of ctonnx that were left out, with the reason: the step is incomplete.
        failures: Reasons why the step does not pass.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    series: dict[str, list[list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> "Recorded":
        """Returns the values in a file of `Context`; none if it is missing."""
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else cls()


class Context:
    """Surroundings of a running step: its settings, its folder, the remaining time, and the record.

    Args:
        settings: Settings of the kit.
        work: Folder that all steps share: data, runs, models.
        file: File of this step's record, written after each value.
        seconds: Seconds until the step is cut.
        output: Folder of the reports.
    """

    def __init__(self, settings: KitSettings, work: Path, file: Path, seconds: float, output: Path) -> None:
        self.settings, self.work, self.output = settings, work, output
        self._file, self._end = file, time.monotonic() + seconds
        self.recorded = Recorded()

    @property
    def left_s(self) -> float:
        """Seconds until the step is cut."""
        return self._end - time.monotonic()

    def fact(self, name: str, value: Any) -> None:
        """Records a value."""
        self.recorded.facts[name] = value
        self._write()

    def row(self, table: str, row: Row) -> None:
        """Records a row of a table."""
        self.recorded.tables.setdefault(table, []).append(asdict(row))
        self._write()

    def course(self, name: str, seconds: list[float], values: list[float]) -> None:
        """Records a measured course."""
        self.recorded.series[name] = [seconds, values]
        self._write()

    def note(self, text: str) -> None:
        """Records a remark."""
        self.recorded.notes.append(text)
        self._write()

    def fail(self, text: str) -> None:
        """Records a reason why the step does not pass; the step goes on."""
        self.recorded.failures.append(text)
        self._write()

    def leave_out(self, text: str) -> None:
        """Records a part of ctonnx that is left out, and why; the step goes on, and is incomplete."""
        self.recorded.left_out.append(text)
        self._write()

    def has_time(self, seconds: float, part: str, *, is_peer: bool = False) -> bool:
        """Returns whether a part that takes some seconds can still run; if not, it is left out, a peer with a note."""
        if self.left_s >= seconds:
            return True
        text = f"{part}: left out, about {seconds:.0f} s needed, {max(0.0, self.left_s):.0f} s left of this step"
        self.note(text) if is_peer else self.leave_out(text)
        return False

    def _write(self) -> None:
        write_text(self._file, json.dumps(asdict(self.recorded)))


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """A step, after it ran or was left out.

    Attributes:
        step: Name of the step.
        title: Title of the step.
        state: State.
        seconds: Seconds that it took.
        reason: Reason of a state other than `passed`.
        output: Last lines of its output, if it did not pass.
        recorded: Recorded values, complete or not.
    """

    step: str
    title: str
    state: State
    seconds: float = 0.0
    reason: str = ""
    output: tuple[str, ...] = ()
    recorded: Recorded = field(default_factory=Recorded)

    def as_dict(self) -> dict[str, Any]:
        """Returns the result for gpu-report.json."""
        values: Mapping[str, Any] = asdict(self)
        return {**{name: value for name, value in values.items() if name != "recorded"}, **values["recorded"]}
