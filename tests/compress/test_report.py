"""compression.md and the lines of a comparison."""

from dataclasses import replace

import numpy as np

from ctonnx.parity.comparison import AccuracyChange, compare
from ctonnx.parity.outputs import Outputs
from ctonnx_compress.gate import Comparison
from ctonnx_compress.report import as_markdown, summary
from ctonnx_compress.settings import CompressSettings
from ctonnx_train.data.splits import Split

SAME = Outputs(
    np.array([[0.9, 0.1]] * 9, np.float32), np.array([[2.2, 0]] * 9, np.float32), np.zeros((9, 2, 7, 7), np.float32)
)
OTHER = replace(SAME, probabilities=np.array([[0.9, 0.1]] * 8 + [[0.1, 0.9]], np.float32))
CHANGE = AccuracyChange(images=9, reference=0.9, candidate=0.79996, difference=-0.10004, low=-0.2, high=0.01)
FOUND = Comparison(
    parity=compare(SAME, OTHER),
    change=CHANGE,
    auroc=(0.95, 0.94),
    decisions={"images": 9, "opposite": 1, "newly_referred": 2, "newly_decided": 3},
)
SETTINGS = CompressSettings(operations=0.5, max_drop=0.1, min_agreement=0.85)


def test_a_comparison_fits_into_one_line() -> None:
    assert summary("valid", FOUND, SETTINGS) == (
        "9 validation images: agreement 88.89% (95 % interval 56.50% to 98.01%), accuracy 0.9000 -> 0.8000 "
        "(-10.004 points, 95 % interval -20.00 to +1.00), macro AUROC 0.9500 -> 0.9400, heatmaps 1.0000, "
        "6 decisions changed, 1 to the opposite"
    )
    bare = summary("test", replace(FOUND, change=None, decisions=None), SETTINGS)
    assert "accuracy" not in bare
    assert "decisions" not in bare


def test_the_report_has_the_operations_the_gate_the_comparison_and_the_widths() -> None:
    parent = {
        "name": "lungs",
        "operations": 0.499993,
        "multiplications": 2_044_000_000,
        "original_multiplications": 4_088_000_000,
    }
    layers = {"conv1": (64, 64), "layer1.0.conv1": (64, 48)}
    comparisons: dict[Split, Comparison] = {"valid": FOUND, "test": replace(FOUND, change=None, decisions=None)}
    text = as_markdown("lungs-half", parent, comparisons, SETTINGS, layers)
    assert text.startswith("# lungs-half: compressed from lungs\n")
    assert "2.04 G, 49.999% of the original's 4.09 G." in text
    assert "agreement 85% or more, a loss of accuracy of 10 points or less" in text
    assert "| accuracy | 0.9000 -> 0.8000 (-10.004 points, 95 % interval -20.00 to +1.00) | - |" in text
    assert "| changed decisions | 1 to the opposite, 2 newly referred, 3 newly decided | - |" in text
    assert "| conv1 | 64 |" in text
    assert "| layer1.0.conv1 | 64 -> 48 |" in text
