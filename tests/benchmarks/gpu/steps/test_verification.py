"""Each model's golden inputs are replayed; a broken bound fails the step."""

from dataclasses import replace
from typing import Any

import pytest

from ctonnx.prediction.device.verification import verify
from ctonnx_bench.gpu.step import Context
from ctonnx_bench.gpu.steps import verification
from ctonnx_bench.gpu.steps.verification import run


def test_golden_inputs_are_replayed(exported_context: Context) -> None:
    run(exported_context)
    [row] = exported_context.recorded.tables["Golden inputs"]
    assert (row["model"], row["result"], row["pytorch_agreement"]) == ("model.fp32.onnx", "passed", 1.0)
    assert row["max_dp_from_pytorch"] < 1e-4
    assert exported_context.recorded.failures == []


def test_broken_bound_is_a_failure(exported_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        verification, "verify", lambda file, **options: replace(verify(file, **options), failures=("max |dp| is 0.3",))
    )
    run(exported_context)
    rows: list[dict[str, Any]] = exported_context.recorded.tables["Golden inputs"]
    assert rows[0]["result"] == "failed"
    assert exported_context.recorded.failures == ["model.fp32.onnx: max |dp| is 0.3"]
