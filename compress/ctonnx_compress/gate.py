"""Gate of a compressed network: comparison with its original on images that neither was trained on."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.acceptance_gates import Gate
from ctonnx.parity.comparison import AccuracyChange, Parity, accuracy_change, compare
from ctonnx.parity.outputs import Outputs
from ctonnx.parity.rounding import rounded_down
from ctonnx_compress.settings import CompressSettings
from ctonnx_export.graph.deploy_graph import DeployGraph
from ctonnx_export.graph.execution import run_pytorch
from ctonnx_export.trial import Decider, decision_changes, decisions_of
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.statistics.metrics import compute_metrics
from ctonnx_train.training.preparation import Prepared

__all__ = ["GATED", "Comparison", "Deployed", "compare_with_parent", "gate_of"]

GATED: Split = "valid"
"""Split that the gate is on: its images trained neither network, and chose no epoch of the compressed one."""

_BATCH = 16


@dataclass(frozen=True)
class Deployed:
    """A network with all outputs, in evaluation mode on the CPU, and the values that decide about an image."""

    graph: DeployGraph
    decider: Decider


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of a compressed network with its original on one split.

    Attributes:
        parity: Differences of probabilities, logits and heatmaps.
        change: Change of accuracy, with its interval for paired images.
        auroc: Macro AUROC of the original and of the compressed network; NaN if a class has no images.
        decisions: Changed decisions, as of `ctonnx_export.trial.decision_changes`; None without operating points.
    """

    parity: Parity
    change: AccuracyChange | None
    auroc: tuple[float, float]
    decisions: Mapping[str, Any] | None

    def failures(self, gate: Gate) -> tuple[str, ...]:
        """Returns a phrase for each bound of the gate that is exceeded."""
        return tuple(bound.phrase for bound in gate.broken(self.parity, self.change))

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison, JSON-ready; rounded so that it cannot look better than it is."""
        low, high = self.parity.agreement_interval
        parent, child = (rounded_down(value) if math.isfinite(value) else None for value in self.auroc)
        return {
            "parity": self.parity.as_dict(),
            "agreement_interval": [rounded_down(low), rounded_down(high)],
            "accuracy": self.change and self.change.as_dict(),
            "macro_auroc": {"parent": parent, "child": child},
            "decisions": self.decisions,
        }


def gate_of(settings: CompressSettings) -> Gate:
    """Returns the bounds for a compressed network: any difference of probabilities, if the classes agree."""
    return Gate(max_dp=math.inf, min_agreement=settings.min_agreement, max_drop=settings.max_drop)


def compare_with_parent(parent: Deployed, child: Deployed, prepared: Prepared) -> dict[Split, Comparison]:
    """Compares two networks on the validation images and, if there are any, on the test images.

    Each has its own operating point, prediction sets and novelty threshold. The novelty itself is not compared: the
    networks have different features.
    """
    found: dict[Split, Comparison] = {}
    splits: tuple[Split, ...] = (GATED, "test")
    for split in splits:
        if not prepared.rows[split]:
            continue
        labels = np.array(prepared.labels(split), np.int64)
        reference, candidate = (run_pytorch(of.graph, _batches(prepared, split)) for of in (parent, child))
        before, after = decisions_of(parent.decider, reference), decisions_of(child.decider, candidate)
        one, other = (replace(outputs, novelty=None) for outputs in (reference, candidate))
        found[split] = Comparison(
            parity=compare(one, other),
            change=accuracy_change(one, other, labels),
            auroc=(_auroc(one, labels), _auroc(other, labels)),
            decisions=None if before is None or after is None else decision_changes(before, after),
        )
    return found


def _batches(prepared: Prepared, split: Split) -> Iterator[NDArray[np.uint8]]:
    """Yields the images of a split, uint8 [images, size, size, 3]."""
    rows = prepared.rows[split]
    for start in range(0, len(rows), _BATCH):
        pixels = prepared.store.take(rows[start : start + _BATCH])
        yield pixels if pixels.shape[3] == 3 else np.repeat(pixels, 3, axis=3)


def _auroc(outputs: Outputs, labels: NDArray[np.int64]) -> float:
    return float(compute_metrics(outputs.probabilities.astype(np.float64), labels)["macro_auroc"].item())
