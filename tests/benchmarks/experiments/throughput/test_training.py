"""Trainings are measured in separate processes, in turn; timm only if it is installed."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from tests.conftest import thin_network

from ctonnx_bench.experiments.throughput import training
from ctonnx_bench.experiments.throughput.training import PEERS, main, measure, measure_ctonnx


def test_own_training_is_measured_in_a_new_process(phantoms: Path) -> None:
    with thin_network():
        found = measure("ctonnx", phantoms, image_size=32, batch_size=8)
    assert set(found) == {"images_per_second", "data_share"}
    assert found["images_per_second"] > 0
    assert 0 <= found["data_share"] < 1


def test_an_epochs_steps_are_measured_and_not_its_validation(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precisions: list[str] = []

    def fitted(network: Any, images: Sequence[Any], *arguments: Any, **options: Any) -> SimpleNamespace:
        precisions.append(arguments[3].precision)
        row = {"seconds": 8.0, "train_seconds": len(images) / 4, "data_seconds": len(images) / 16}
        return SimpleNamespace(history=SimpleNamespace(rows=[{}, row]))

    monkeypatch.setattr("ctonnx_train.training.loop.fit.fit", fitted)
    assert measure_ctonnx(phantoms, 32, 8) == {"images_per_second": 4.0, "data_share": 0.25}
    assert precisions == ["bf16"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records the measured peers, in order; the first peer is twice as fast as the others."""
    noted: list[str] = []

    def note(peer: str, data: Path, image_size: int, batch_size: int) -> dict[str, float]:
        noted.append(peer)
        return {"images_per_second": (40.0 if peer == "ctonnx" else 20.0) + len(noted) / 1000, "data_share": 0.25}

    monkeypatch.setattr(training, "measure", note)
    return noted


def test_peers_take_turns_and_are_compared_round_by_round(
    measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "find_spec", lambda name: object())
    result = CliRunner().invoke(main, [str(tmp_path), "--rounds", "2"])
    assert result.exit_code == 0, result.output
    assert measured == [*PEERS, *reversed(PEERS)]
    head, *lines = result.stdout.splitlines()
    assert head == "ResNet50, 128 pixels, batch 32, bf16, 2 processes each in turn: medians"
    assert [line[:26].rstrip() for line in lines] == list(PEERS)
    assert [line.rpartition("data")[2].split() for line in lines] == [
        ["25.0%", "ctonnx", "is", "1.00", "times", "as", "fast"],
        *[["25.0%", "ctonnx", "is", "2.00", "times", "as", "fast"]] * (len(PEERS) - 1),
    ]


def test_timm_is_skipped_if_it_is_not_installed(
    measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    result = CliRunner().invoke(main, [str(tmp_path), "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert measured == [name for name in PEERS if name != "timm"]
    assert result.stdout.splitlines()[-1] == "timm: skipped, not installed; pip install timm"
