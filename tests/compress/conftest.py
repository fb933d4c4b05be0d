"""A compressed run, made once from the trained run of a thin network."""

from pathlib import Path

import pytest
from tests.conftest import empty_plots, once, thin_network

from ctonnx.artifacts.run import Run
from ctonnx_compress.settings import CompressSettings

LOOSE = CompressSettings(operations=0.92, steps=2, epochs=4, max_drop=1.0, min_agreement=0.0)
"""Settings that any network passes; a thin network has few layers that are wider than 16."""


@pytest.fixture(scope="session")
def compressed_run(trained_run: Run, shared_folder: Path) -> Run:
    """The trained run, compressed with `LOOSE`. Tests that change it work on a copy."""
    from ctonnx_compress.compress import compress

    root = shared_folder / "work/compressed"
    with once(shared_folder, "compressed") as missing:
        if missing:
            with thin_network(), empty_plots():
                compress(trained_run, settings=LOOSE, name="small", root=root)
    return Run(root / "small")
