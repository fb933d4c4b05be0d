"""The models are compared with a matrix product of the same kind, and their operations are counted."""

import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import CliRunner

from ctonnx_bench.experiments.throughput import roofline
from ctonnx_bench.experiments.throughput.roofline import PRECISIONS, main, matrix_rate, operations


@pytest.mark.parametrize("precision", PRECISIONS)
def test_matrix_product_has_a_rate(precision: str) -> None:
    assert matrix_rate(precision, 0.0) > 1e6


def test_operations_are_those_of_the_convolutions(tmp_path: Path) -> None:
    """ResNet50's convolutions take 4.09 G multiplications and as many additions at 224 pixels; these images have 64."""
    network = torch.nn.Sequential(torchvision.models.resnet50(weights=None), torch.nn.Flatten())
    torch.onnx.export(network.eval(), (torch.zeros(1, 3, 64, 64),), tmp_path / "resnet50.onnx", verbose=False)
    assert operations(tmp_path / "resnet50.onnx") == pytest.approx(2 * 4.09e9 * (64 / 224) ** 2, rel=0.01)


def test_share_is_computed_round_by_round(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = operations(model)
    monkeypatch.setattr(
        roofline, "measure_in_child", lambda module, precision, seconds: count * 1000.0
    )  # 1 ms an image
    monkeypatch.setattr(roofline, "measure", lambda file, batch_size, seconds: 1.25 if "fp32" in file.name else 2.0)
    for name in PRECISIONS:
        shutil.copy(model, tmp_path / f"model.{name}.onnx")
    result = CliRunner().invoke(main, [str(tmp_path), "--rounds", "2"])
    assert result.exit_code == 0, result.output
    fp32, int8 = result.stdout.splitlines()[1:]
    assert "takes 1.25 ms at batch 8, 80% of that rate (100% would be 1.00 ms)" in fp32
    assert "takes 2.00 ms at batch 8, 50% of that rate" in int8


def test_folder_without_models_is_rejected(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 2
    assert "found none; make one with: ctonnx export" in result.stderr
