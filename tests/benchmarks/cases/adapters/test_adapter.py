"""Peers are compared where they compute on the same processor as ctonnx, and every adapter's module exists."""

import importlib

import pytest

from ctonnx_bench.cases.adapters.adapter import ADAPTERS, PEERS


@pytest.mark.parametrize(
    ("name", "provider", "expected"),
    [
        ("pytorch", "cuda", "cuda"),
        ("pytorch", "openvino", "cpu"),
        ("pytorch", "coreml", None),
        ("openvino", "cpu", "cpu"),
        ("openvino", "cuda", None),
        ("pytorch-fp16", "cpu", None),
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
