"""Writes the kit's reports: gpu-report.json first, then plots and Markdown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctonnx.system.files import atomic_file, json_text, write_text

__all__ = ["write_reports"]


def write_reports(document: Mapping[str, Any], folder: Path) -> None:
    """Writes gpu-report.json, the plots whose values were measured, and gpu-report.md into a folder.

    A plot that cannot be drawn, for example without matplotlib, is reported in the Markdown.

    Raises:
        OSError: If a file cannot be written.
    """
    from ctonnx_bench.gpu.report.markdown import markdown

    write_text(folder / "gpu-report.json", json_text(document))
    plots, problem = _write_plots(document, folder)
    text = markdown(document, plots)
    write_text(folder / "gpu-report.md", text + (f"\nPlots are missing: {problem}\n" if problem else ""))


def _write_plots(document: Mapping[str, Any], folder: Path) -> tuple[list[str], str]:
    """Returns the names of the written plots, and the reason why others are missing."""
    plots = []
    try:
        from ctonnx_bench.gpu.report.plots import PLOTS, draw

        for name in PLOTS:
            figure, file = draw(name, document), folder / f"{name}.png"
            if figure is None:
                file.unlink(missing_ok=True)  # of an earlier run
                continue
            with atomic_file(file) as temporary:
                figure.savefig(temporary, format="png", dpi=110)
            plots.append(file.name)
    except OSError:
        raise
    except Exception as error:  # the measurements matter more than their plots
        return plots, f"{type(error).__name__}: {error}"
    return plots, ""
