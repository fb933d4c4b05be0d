"""Provenance of a row: model file, threshold and time."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from tests.runtime.prediction.output.pictures.test_heatmap_image import POINT, spec_of

from ctonnx.prediction.output.provenance import provenance


def test_file_threshold_and_time_are_those_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a model")
    before = datetime.now(UTC).replace(microsecond=0)
    found = provenance(tmp_path / "model.onnx", spec_of(replace(POINT, threshold=0.99850049)))
    assert (found["model_sha256"], found["threshold"]) == (sha256(b"a model").hexdigest(), 0.99850049)
    assert before <= datetime.fromisoformat(found["time"]) <= datetime.now(UTC)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["time"])
    assert list(found) == ["model_sha256", "threshold", "time"]
    assert provenance(tmp_path / "model.onnx", spec_of())["threshold"] is None
