"""Facts of the machine are recorded, and a provider or a GPU that does not work fails the step."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ctonnx.inference.self_test import ProviderCheck
from ctonnx_bench.gpu.settings import KitSettings
from ctonnx_bench.gpu.step import Context
from ctonnx_bench.gpu.steps import facts
from ctonnx_bench.gpu.steps.facts import run


def test_machine_versions_and_a_first_computation_are_recorded(make_context: Callable[..., Context]) -> None:
    context = make_context()
    run(context)
    found = context.recorded.facts
    assert found["self-test on cpu"] == "works"
    assert found["difference from NumPy"] < 1e-5
    assert "torch" in found["versions"]
    assert "CPUExecutionProvider" in found["providers of onnxruntime"]
    assert context.recorded.failures == []


def test_provider_that_does_not_work_and_a_missing_gpu_are_failures(
    make_context: Callable[..., Context], tiny: KitSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ProviderCheck(name="cuda", state="fails", message="cuDNN does not load")
    monkeypatch.setattr(facts, "check_provider", lambda name: failing)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    context = make_context(replace(tiny, provider="cuda", needs_gpu=True))
    run(context)
    first, second = context.recorded.failures
    assert first == "expected cuda to compute a small model, found: fails: cuDNN does not load"
    assert second.startswith("expected a GPU that PyTorch")
    assert "cpu" in context.recorded.facts
