"""Both precisions are exported; a model that fails its gate fails the step."""

import shutil
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from ctonnx.artifacts.run import Run
from ctonnx_bench.gpu.step import RUN, Context
from ctonnx_bench.gpu.steps import export
from ctonnx_bench.gpu.steps.export import run


def test_both_precisions_are_exported(make_context: Callable[..., Context], trained_run: Run) -> None:
    context = make_context()
    shutil.copytree(trained_run.folder, context.work / "runs" / RUN)
    run(context)
    rows = context.recorded.tables["Models"]
    assert [(row["precision"], row["gate"]) for row in rows] == [("fp32", "passed"), ("fp16", "passed")]
    assert all(row["size_mb"] > 0 for row in rows)
    assert context.recorded.failures == []


def test_model_that_fails_its_gate_is_a_failure(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SimpleNamespace(precision="fp16", failures=("agreement is 90 %",))
    result = SimpleNamespace(models=(model,), written=(), rejected=(model,))
    monkeypatch.setattr(export, "export_run", lambda run, **options: result)
    monkeypatch.setattr(export, "find_run", lambda path: path)
    context = make_context()
    run(context)
    assert context.recorded.tables["Models"] == [{"precision": "fp16", "size_mb": None, "gate": "agreement is 90 %"}]
    assert context.recorded.failures == ["expected FP16 to pass its gate, found: agreement is 90 %"]
