"""OpenVINO's INT8 is calibrated on all given images; tested with mock modules."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ctonnx_bench.cases.adapters.openvino_int8 import prepare


def test_model_is_quantized_on_all_images_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def quantize(model: str, images: list[Any], *, subset_size: int) -> str:
        shapes = [image.shape for image in images]
        return f"{model} quantized on {len(shapes)} of {shapes[0]}, {subset_size} at most"

    def save_model(model: str, file: str, *, compress_to_fp16: bool) -> None:
        Path(file).write_text(f"{model}, fp16: {compress_to_fp16}", encoding="utf-8")

    core = SimpleNamespace(read_model=lambda file: f"<{file}>")
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=lambda: core, save_model=save_model))
    monkeypatch.setitem(sys.modules, "nncf", SimpleNamespace(Dataset=list, quantize=quantize))
    file = prepare(Path("m.onnx"), np.zeros((5, 2, 2, 3), np.uint8), tmp_path)
    assert file == tmp_path / "openvino.int8.xml"
    text = file.read_text(encoding="utf-8")
    assert text == "<m.onnx> quantized on 5 of (1, 2, 2, 3), 5 at most, fp16: False"
