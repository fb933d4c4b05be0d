"""Fixtures: a series of three slices with dates, and its positive result."""

from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="highdicom (the extra pacs) is not installed")

from tests.runtime.server.pacs.results.made_results import result_of, write_series  # after the extra

from ctonnx.server.pacs.results.document import SeriesResult


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three slices of a patient, in the order of the body."""
    return write_series(tmp_path / "series")


@pytest.fixture
def positive(files: list[str]) -> SeriesResult:
    """A positive result: the second slice carried the decision."""
    return result_of(files, (0.1, 0.9, 0.6))
