"""The export folder of a copy of the run."""

from pathlib import Path

import pytest


@pytest.fixture
def export(workspace: Path) -> Path:
    """The export folder of a copy of the run, which is the newest run of the working folder."""
    return workspace / "runs/tiny/export"
