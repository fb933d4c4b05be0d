"""Replays the golden inputs on the device: parity with PyTorch and with the export's own outputs."""

from dataclasses import dataclass
from typing import cast

from ctonnx.inference.providers import Provider
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.model_selection import find_models
from ctonnx_bench.gpu.step import RUN, Context

__all__ = ["Replayed", "run"]


@dataclass(frozen=True)
class Replayed:
    """Golden inputs on the device.

    Attributes:
        model: File name.
        images: Number of golden inputs.
        max_dp_from_pytorch: Largest difference of a probability from PyTorch's.
        pytorch_agreement: Share of images with PyTorch's class.
        max_dp_from_export: Largest difference of a probability from the file's own at export.
        heatmap_correlation: Median correlation of the heatmaps with PyTorch's.
        result: `passed`, or `failed`.
    """

    model: str
    images: int
    max_dp_from_pytorch: float
    pytorch_agreement: float
    max_dp_from_export: float
    heatmap_correlation: float
    result: str


def run(context: Context) -> None:
    """Verifies each exported model."""
    for file in find_models(context.work / "runs" / RUN):
        found = verify(file, provider=cast("Provider", context.settings.provider))
        first, own = found.with_pytorch, found.with_export
        context.row(
            "Golden inputs",
            Replayed(
                file.name,
                first.images,
                first.max_dp,
                first.agreement,
                own.max_dp,
                first.heatmap_correlation,
                "failed" if found.failures else "passed",
            ),
        )
        for failure in found.failures:
            context.fail(f"{file.name}: {failure}")
