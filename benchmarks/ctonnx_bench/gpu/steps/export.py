"""Exports the run on phantoms to FP32 and FP16."""

import time
from dataclasses import dataclass

from ctonnx.artifacts.report_schema import Precision
from ctonnx.artifacts.run import find_run
from ctonnx_bench.gpu.step import RUN, Context
from ctonnx_export.export import export_run

__all__ = ["Exported", "run"]

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")


@dataclass(frozen=True)
class Exported:
    """A precision with its file and its gate.

    Attributes:
        precision: Precision.
        size_mb: Size of the file in MB; None if the gate was not passed.
        gate: `passed`, or the bounds that the model exceeds.
    """

    precision: str
    size_mb: float | None
    gate: str


def run(context: Context) -> None:
    """Exports, and records each precision."""
    start = time.perf_counter()
    result = export_run(find_run(context.work / "runs" / RUN), precisions=_PRECISIONS, log=print)
    context.fact("duration_s", time.perf_counter() - start)
    for model in result.models:
        size = result.file(model).stat().st_size / 1e6 if model in result.written else None
        context.row("Models", Exported(model.precision, size, "; ".join(model.failures) or "passed"))
    for model in result.rejected:
        context.fail(f"expected {model.precision.upper()} to pass its gate, found: {'; '.join(model.failures)}")
