"""Devices, precision and number of processes of a training."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ctonnx.errors import DataError
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.loop.device import DeviceTimer, resolve_precision
from ctonnx_train.training.loop.fit import Fitted
from ctonnx_train.training.recipe import Precision

Fit = Callable[..., tuple[Fitted, CTClassifier, list[str]]]

pytestmark = pytest.mark.usefixtures("small_backbone", "on_the_cpu")


@pytest.mark.parametrize(
    ("asked", "device", "native", "precision"),
    [
        ("fp32", "cuda", True, "fp32"),
        ("bf16", "cuda", False, "bf16"),
        ("auto", "cuda", True, "bf16"),
        ("auto", "cuda", False, "fp16"),
        ("fp16", "cuda", True, "fp16"),
        ("fp16", "mps", True, "fp16"),
        ("fp32", "cpu", True, "fp32"),
        ("bf16", "cpu", False, "bf16"),
        ("auto", "cpu", True, "bf16"),
        ("auto", "cpu", False, "fp32"),
        ("auto", "mps", True, "fp32"),
    ],
)
def test_auto_is_bf16_where_the_device_computes_in_it_and_fp16_on_other_cuda_gpus(
    asked: Precision, device: str, native: bool, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    capabilities = {"architecture": "x86_64", "avx2": True, "avx512_bf16": native, "amx_fp16": True}
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    assert resolve_precision(asked, torch.device(device)) == precision


def test_fp16_on_a_cpu_is_rejected(fitted: Fit) -> None:
    with pytest.raises(DataError, match=r"^expected --precision bf16 or fp32 on a CPU, found fp16, which needs a GPU$"):
        fitted(precision="fp16")


def test_bf16_trains_weights_that_stay_float32(fitted: Fit) -> None:
    result, network, lines = fitted(precision="bf16")
    assert result.precision == "bf16"
    assert lines[1] == "training on cpu in bf16, 4 images a step, at most 1 epoch"
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize(("precision", "asked"), [("bf16", "bf16-mixed"), ("fp16", "16-mixed"), ("fp32", "32-true")])
def test_a_precision_is_what_the_trainer_is_asked_for(
    precision: Precision, asked: str, fitted: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    def note(**options: Any) -> None:
        given.append(options["precision"])
        raise DataError("seen enough")

    monkeypatch.setattr(
        "ctonnx_train.training.loop.fit.choose_device", lambda settings: (torch.device("cpu"), precision)
    )
    monkeypatch.setattr("lightning.pytorch.Trainer", note)
    with pytest.raises(DataError, match=r"^seen enough$"):
        fitted()
    assert given == [asked]


def test_more_gpus_than_there_are_are_rejected(fitted: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    message = "expected at least 3 GPUs for --devices, found 2; lower it"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fitted(devices=3)


@pytest.mark.parametrize(("devices", "nodes", "valid"), [(2, 1, 1), (2, 2, 3), (10, 1, 10)])
def test_fewer_images_than_processes_are_reported(devices: int, nodes: int, valid: int, fitted: Fit) -> None:
    message = (
        f"expected at least an image for each of {devices * nodes} processes, found 9 to train on and {valid} to "
        "validate; lower --devices or --nodes"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fitted(valid=(0,) * valid, devices=devices, nodes=nodes)


def test_time_of_a_gpu_is_that_between_events_and_only_reading_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake GPU, on which every block takes 250 ms."""
    calls: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            calls.append("record")

        def synchronize(self) -> None:
            calls.append("wait")

        def elapsed_time(self, end: "Event") -> float:
            return 250.0

    monkeypatch.setattr("torch.cuda.Event", Event)
    timer = DeviceTimer()
    for _ in range(2):
        with timer.timed(torch.device("cuda")):
            calls.append("block")
    assert calls == ["record", "block", "record"] * 2
    assert timer.seconds == 0.5
    assert calls[6:] == ["wait", "wait"]
    assert timer.seconds == 0.5


def test_time_of_a_cpu_is_that_of_the_block() -> None:
    timer = DeviceTimer()
    with timer.timed(torch.device("cpu")):
        sum(range(10_000))
    assert 0 < timer.seconds < 1
