"""A folder with an `onnxruntime` model of the tests whose operating point makes every image positive."""

import json
from pathlib import Path

import onnx

__all__ = ["with_point"]


def with_point(model: Path, folder: Path) -> Path:
    """Writes a copy of a model that has an operating point, and returns its path."""
    loaded = onnx.load(model)
    (metadata,) = loaded.metadata_props
    spec = json.loads(metadata.value)
    point = {"positive": [spec["classes"][0]], "threshold": 0.0, "sensitivity": 1.0, "specificity": 1.0}
    metadata.value = json.dumps({**spec, "operating_point": point, "prediction_sets": None, "novelty": None})
    onnx.save(loaded, folder / "model.onnx")
    return folder / "model.onnx"
