"""A family from its settings to its reports: measurement, table, plot, and files that are written together."""

from collections.abc import Sequence
from pathlib import Path

from ctonnx.system.files import json_text
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log
from ctonnx_bench.benchmark.family.document import run_family
from ctonnx_bench.benchmark.family.plot import plot_family, to_png
from ctonnx_bench.benchmark.family.tables import markdown
from ctonnx_bench.benchmark.workflow import Report, wrong_outputs
from ctonnx_bench.cases.settings import Settings
from ctonnx_bench.report.files import output_folder, try_folder, write_together

__all__ = ["measure_family"]


def measure_family(settings: Settings, names: Sequence[str], output: Path | None, *, command: str, log: Log) -> Report:
    """Measures a family, and writes family.json, family.md and family.png.

    Args:
        settings: Settings of the benchmark.
        names: Names of the models, one for each; without any, they are named by run and precision.
        output: Folder for the reports; None is `bench/` in the first model's run.
        command: Command line, for the report.
        log: Called with each progress message.

    Raises:
        CtonnxError: If ctonnx cannot run with these settings, or the models cannot be compared.
        OSError: If a report cannot be written; this is checked before the measurement.
    """
    folder = output or output_folder(settings.models)
    try_folder(folder)
    remove_leftovers([folder], log)
    document = run_family(settings, names, command=command, log=log)
    contents = {
        "family.json": json_text(document).encode(),
        "family.md": markdown(document, "family.png").encode(),
        "family.png": to_png(plot_family(document)),
    }
    return Report(document, None, write_together(folder, contents), wrong_outputs(document))
