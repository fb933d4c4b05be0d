"""Process of one step: `python -m ctonnx_bench.gpu.worker TASK`; `ctonnx_bench.gpu.kit` starts it."""

import json
import sys
from importlib import import_module
from pathlib import Path

from ctonnx.errors import CtonnxError
from ctonnx_bench.gpu.settings import KitSettings
from ctonnx_bench.gpu.step import Context

__all__ = ["main", "run_step"]


def run_step(name: str, context: Context) -> None:
    """Runs a step; an expected error is recorded as a failure, any other one is raised."""
    try:
        import_module(f"ctonnx_bench.gpu.steps.{name}").run(context)
    except CtonnxError as error:
        context.fail(str(error))


def main() -> None:
    """Runs the step of a task file."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    context = Context(
        KitSettings.from_dict(task["settings"]),
        Path(task["work"]),
        Path(task["record"]),
        task["seconds"],
        Path(task["output"]),
    )
    run_step(task["step"], context)


if __name__ == "__main__":
    main()
