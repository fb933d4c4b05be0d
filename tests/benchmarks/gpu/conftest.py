"""Tiny settings, and a context whose run is the exported one of all tests."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ctonnx.artifacts.run import Run
from ctonnx_bench.gpu.settings import REHEARSAL, KitSettings
from ctonnx_bench.gpu.step import RUN, Context

MakeContext = Callable[..., Context]

TINY = replace(
    REHEARSAL,
    batch_sizes=(1, 2),
    timed_s=0.01,
    scans=6,
    different_scans=2,
    clients=4,
    requests=12,
    random_images=32,
    train_batch=8,
    phantoms_per_class=4,
)


@pytest.fixture
def tiny() -> KitSettings:
    """Settings of a kit that takes seconds."""
    return TINY


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    """Function that makes the context of a step, with settings and the seconds until it is cut."""

    def make(settings: KitSettings = TINY, seconds: float = 600.0) -> Context:
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        return Context(settings, work, tmp_path / "record.json", seconds, tmp_path)

    return make


@pytest.fixture
def exported_context(make_context: MakeContext, exported_run: Run) -> Context:
    """A context whose folder has the exported run."""
    context = make_context()
    shutil.copytree(exported_run.folder, context.work / "runs" / RUN)
    return context
