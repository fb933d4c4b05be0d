"""compression.md: the comparison of a compressed network with its original, and the widths of its layers."""

from collections.abc import Mapping
from typing import Any

from ctonnx.parity.rounding import exactly, points_text, shown
from ctonnx.system.text import table
from ctonnx_compress.gate import Comparison
from ctonnx_compress.operations import operations_text
from ctonnx_compress.settings import CompressSettings
from ctonnx_train.data.splits import Split

__all__ = ["as_markdown", "summary"]

_TITLES = {"valid": "validation", "test": "test"}


def summary(split: Split, found: Comparison, settings: CompressSettings) -> str:
    """Returns a comparison in one line."""
    agreement = shown(found.parity.agreement, settings.min_agreement, digits=2, form="%")
    low, high = found.parity.agreement_interval
    parts = [f"agreement {agreement} (95 % interval {low:.2%} to {high:.2%})"]
    if found.change:
        parts.append(f"accuracy {_change(found, settings)}")
    parts.append(f"macro AUROC {found.auroc[0]:.4f} -> {found.auroc[1]:.4f}")
    parts.append(f"heatmaps {found.parity.heatmap_correlation:.4f}")
    if found.decisions:
        changed = sum(found.decisions[name] for name in ("opposite", "newly_referred", "newly_decided"))
        parts.append(f"{changed} decisions changed, {found.decisions['opposite']} to the opposite")
    return f"{found.parity.images} {_TITLES[split]} images: {', '.join(parts)}"


def as_markdown(
    name: str,
    parent: Mapping[str, Any],
    comparisons: Mapping[Split, Comparison],
    settings: CompressSettings,
    layers: Mapping[str, tuple[int, int]],
) -> str:
    """Returns the report of a compression.

    Args:
        name: Name of the compressed run.
        parent: `parent` of its record.
        comparisons: Comparison on each split.
        settings: Settings of the compression.
        layers: Output channels of each convolution, in the original and in the compressed network.
    """
    columns = list(comparisons)
    rows = [
        ["images", *(str(found.parity.images) for found in comparisons.values())],
        [
            "agreement (95 % interval)",
            *(
                f"{shown(found.parity.agreement, settings.min_agreement, digits=2, form='%')} "
                f"({found.parity.agreement_interval[0]:.2%} to {found.parity.agreement_interval[1]:.2%})"
                for found in comparisons.values()
            ),
        ],
        ["mean \\|dp\\|", *(f"{found.parity.mean_dp:.3g}" for found in comparisons.values())],
        ["accuracy", *(_change(found, settings) for found in comparisons.values())],
        ["macro AUROC", *(f"{found.auroc[0]:.4f} -> {found.auroc[1]:.4f}" for found in comparisons.values())],
        [
            "correlation of heatmaps",
            *(f"{found.parity.heatmap_correlation:.4f}" for found in comparisons.values()),
        ],
        ["changed decisions", *(_decisions(found.decisions) for found in comparisons.values())],
    ]
    return "\n".join(
        [
            f"# {name}: compressed from {parent['name']}",
            "",
            f"Multiplications for an image: {operations_text(parent['multiplications'])}, "
            f"{shown(parent['operations'], settings.operations, digits=1, form='%')} of the original's "
            f"{operations_text(parent['original_multiplications'])}.",
            "",
            f"Gate, on the validation images: agreement {exactly(settings.min_agreement, form='%')} or more, a loss of "
            f"accuracy of {points_text(settings.max_drop)} points or less. It passed. The validation images trained "
            "neither network; they fitted the values that decide, and chose the epoch of the original.",
            "",
            *table(["original -> compressed", *(_TITLES[split] for split in columns)], rows),
            "",
            "The interval of the change of accuracy is for paired images, as both networks classify the same ones.",
            "",
            *table(
                ["convolution", "output channels"],
                [
                    [layer, f"{before} -> {after}" if before != after else str(after)]
                    for layer, (before, after) in layers.items()
                ],
            ),
            "",
        ]
    )


def _change(found: Comparison, settings: CompressSettings) -> str:
    change = found.change
    if change is None:
        return "-"
    difference = shown(change.difference * 100, -settings.max_drop * 100, digits=2, form="f", sign="+")
    return (
        f"{change.reference:.4f} -> {change.candidate:.4f} ({difference} points, 95 % interval {change.low * 100:+.2f} "
        f"to {change.high * 100:+.2f})"
    )


def _decisions(decisions: Mapping[str, Any] | None) -> str:
    if decisions is None:
        return "-"
    return (
        f"{decisions['opposite']} to the opposite, {decisions['newly_referred']} newly referred, "
        f"{decisions['newly_decided']} newly decided"
    )
