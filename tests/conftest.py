"""Fixtures: a tiny phantom set, a network trained on it for one epoch, and its export, made once for all tests."""

import os
import shutil
from pathlib import Path

import pytest

from ctonnx.images import Preprocessing
from ctonnx.runs import Run

# The networks here are small: on a busy machine their threads would mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SIZE = 64
"""Height and width of the test model's input, in pixels."""


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom set of 32 images, 96 pixels high and wide, in the Kaggle layout."""
    from ctonnx_train.phantom import generate

    folder = tmp_path_factory.mktemp("data") / "phantoms"
    generate(folder, per_class=8, size=96)
    return folder


@pytest.fixture(scope="session")
def trained_run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run trained on the phantoms for one epoch. Tests that change it work on a copy."""
    from ctonnx_train.recipe import TrainSettings
    from ctonnx_train.training import train

    settings = TrainSettings(weights="none", epochs=1, batch_size=8)
    root = tmp_path_factory.mktemp("work") / "runs"
    return train(phantoms, settings=settings, preprocessing=Preprocessing(size=SIZE), name="tiny", root=root).run


@pytest.fixture(scope="session")
def exported_run(trained_run: Run) -> Run:
    """The trained run with its export. Tests that change it work on a copy."""
    from ctonnx_export.exporting import export_run

    export_run(trained_run)
    return trained_run


@pytest.fixture(scope="session")
def model(exported_run: Run) -> Path:
    """The exported FP32 model."""
    return exported_run.model_file("fp32")


@pytest.fixture
def workspace(exported_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a copy of the exported run in runs/tiny."""
    shutil.copytree(exported_run.folder, tmp_path / "runs" / "tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path
