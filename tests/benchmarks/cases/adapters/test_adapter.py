"""Peers are compared where they compute on the same processor as ctonnx, and every adapter's module exists."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from ctonnx_bench.cases.adapters import adapter
from ctonnx_bench.cases.adapters.adapter import ADAPTERS, PEERS, Opening, open_network


@pytest.mark.parametrize(
    ("name", "provider", "expected"),
    [
        ("pytorch", "cuda", "cuda"),
        ("pytorch", "openvino", "cpu"),
        ("pytorch", "coreml", None),
        ("openvino", "cpu", "cpu"),
        ("openvino", "cuda", None),
        ("pytorch-fp16", "cpu", None),
        ("torch-graphs-fp16", "cpu", None),
        ("torch-compile-fp16", "cuda", "cuda"),
        ("ctonnx", "tensorrt", "tensorrt"),
    ],
)
def test_peer_runs_on_ctonnxs_provider_or_else_on_the_same_processor(
    name: str, provider: str, expected: str | None
) -> None:
    assert ADAPTERS[name].peer_provider(provider) == expected


@pytest.mark.parametrize("name", ["ctonnx", *PEERS])
def test_adapter_opens_a_network_and_prepares_its_model_if_it_must(name: str) -> None:
    module = importlib.import_module(f"ctonnx_bench.cases.adapters.{ADAPTERS[name].module}")
    assert callable(module.open_network)
    assert hasattr(module, "prepare") == ADAPTERS[name].prepares


def test_network_is_opened_with_the_options_of_its_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[Opening, dict[str, bool]]] = []
    module = SimpleNamespace(open_network=lambda opening, **options: opened.append((opening, options)))
    monkeypatch.setattr(adapter, "import_module", lambda name: module)
    opening = Opening(model=Path("run"), provider="cuda", threads=1)
    open_network("torch-compile-fp16", opening)
    open_network("pytorch", opening)
    assert opened == [(opening, {"half": True, "compiled": True}), (opening, {})]
