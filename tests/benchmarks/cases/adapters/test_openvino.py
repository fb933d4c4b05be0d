"""OpenVINO is configured for full float32, low latency and the same threads; tested with a mock module."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ctonnx_bench.cases.adapters.adapter import Opening
from ctonnx_bench.cases.adapters.openvino import open_network


def test_model_is_compiled_for_the_case_and_outputs_are_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Core:
        def compile_model(self, *arguments: Any) -> Any:
            asked.append(arguments)
            outputs = [SimpleNamespace(any_name=name) for name in ("probabilities", "logits", "heatmap", "novelty")]
            request = SimpleNamespace(infer=infer)
            return SimpleNamespace(outputs=outputs, create_infer_request=lambda: request)

    def infer(inputs: dict[str, Any], *, share_inputs: bool) -> dict[str, Any]:
        return {"novelty": 4, "heatmap": 3, "logits": 2, "probabilities": inputs["pixels"].sum()}

    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=Core))
    network = open_network(Opening(model=Path("m.onnx"), provider="cpu", threads=3))
    found = network.predict(np.ones((1, 2, 2, 3), np.uint8))
    given: tuple[Any, ...] = (found.probabilities, found.logits, found.heatmap, found.novelty)
    assert given == (12, 2, 3, 4)
    file, device, options = asked[0]
    assert (file, device) == ("m.onnx", "CPU")
    assert options == {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 3,
        "INFERENCE_PRECISION_HINT": "f32",
    }
