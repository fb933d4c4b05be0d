"""Document of a kit on a GPU, with invented values."""

from typing import Any

import pytest

_NETWORKS = {
    ("ctonnx FP32", "on the device"): 2.0,
    ("ctonnx FP16", "on the device"): 1.0,
    ("ctonnx FP16", "host copies"): 1.3,
    ("torch.compile FP16", "on the device"): 1.1,
}


def _step(name: str, state: str, seconds: float, **values: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"facts": {}, "tables": {}, "series": {}, "notes": [], "output": []}
    empty |= {"left_out": [], "failures": []}
    return {
        "step": name,
        "title": f"`{name}` step",
        "state": state,
        "seconds": seconds,
        "reason": "",
        **empty,
        **values,
    }


@pytest.fixture
def document() -> dict[str, Any]:
    """A kit whose folder step was cut and whose last step was left out."""
    latency = [
        {
            "network": network,
            "transfer": transfer,
            "batch": batch,
            "p50_ms": milliseconds * batch**0.8,
            "p95_ms": milliseconds * batch**0.8 * 1.1,
            "images_per_s": 1e3 * batch**0.2 / milliseconds,
            "max_dp": 3.2e-6,
            "agreement": 1.0,
        }
        for (network, transfer), milliseconds in _NETWORKS.items()
        for batch in (1, 32, 128)
    ]
    settings = [
        {"setting": name, "precision": precision, "batch": 32, "p50_ms": value, "max_dp": 0.0, "passes": True}
        for precision, scale in (("fp32", 9.0), ("fp16", 4.0))
        for name, value in (("default", scale), ("TF32", scale * 0.6), ("NHWC", scale * 0.9), ("CUDA graph", None))
    ]
    trainings = (
        ("plain torchvision loop", 900.0, 0.12),
        ("ctonnx", 1100.0, 0.034),
        ("ctonnx, --compile", 1500.0, 0.05),
    )
    speed = [
        {"training": name, "images_per_s": rate, "data_share": share, "gpu_mb": 12_000.0}
        for name, rate, share in trainings
    ]
    return {
        "schema_version": 1,
        "command": "python -m ctonnx_bench.gpu",
        "created": "2026-11-30T20:00:00+00:00",
        "settings": {"provider": "cuda", "budget_s": 540.0},
        "seconds": 401.0,
        "complete": True,
        "passed": False,
        "steps": [
            _step("facts", "passed", 11.0, facts={"gpu": "NVIDIA X", "driver": "590.1", "cuDNN": None}),
            _step("training", "passed", 160.0, tables={"Speed": speed}),
            _step("latency", "failed", 120.0, tables={"Latency": latency, "Provider settings": settings}),
            _step(
                "folder",
                "cut",
                70.0,
                reason="it had not ended after 70 s",
                series={"GPU busy": [[0.1, 0.2, 0.3, 0.4], [0.0, 0.9, 0.95, 0.4]]},
                failures=["expected a row | found none"],
                notes=["a peer: left out"],
                left_out=["a part: left out"],
                output=["Traceback", "no luck"],
            ),
            _step("server", "left out", 0.0, reason="no time"),
        ],
    }
