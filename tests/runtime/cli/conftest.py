"""Fixtures for tests of `ctonnx predict`: scans, a fixed time, and a chosen operating point."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.prediction.predictor import Predictor


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in a folder with scans/: three good images and an empty file."""
    folder = tmp_path / "scans"
    (folder / "inner").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (3, 80, 100)).astype(np.uint8)
    for name, pixels in zip(("a.png", "c.png", "inner/d.png"), noise, strict=True):
        Image.fromarray(pixels).save(folder / name)
    (folder / "b.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> str:
    """Fixes the time in the rows, so that two runs can be compared."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Stopped":
            return cls(2026, 11, 30, 1, 2, 3, tzinfo=tz)

    monkeypatch.setattr("ctonnx.prediction.output.provenance.datetime", Stopped)
    return "2026-11-30T01:02:03+00:00"


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that sets the threshold of predictors, as a probability of `normal`, which alone decides."""
    original = Predictor.__init__

    def set_to(threshold: float | None) -> None:
        def opened(self: Predictor, *arguments: Any, **options: Any) -> None:
            original(self, *arguments, **options)
            point = None
            if threshold is not None:
                point = OperatingPoint(positive=("normal",), threshold=threshold, sensitivity=1.0, specificity=1.0)
            self.spec = replace(self.spec, operating_point=point, prediction_sets=None, novelty=None)

        monkeypatch.setattr(Predictor, "__init__", opened)

    return set_to
