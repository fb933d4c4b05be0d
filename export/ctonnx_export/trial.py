"""Trial of a candidate: comparison with its FP32 original, and timing."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity import rounding
from ctonnx.parity.acceptance_gates import GATES, BrokenBound, Gate
from ctonnx.parity.comparison import AccuracyChange, Parity, accuracy_change, compare
from ctonnx.parity.outputs import Outputs, output_names
from ctonnx_export.graph.sessions import open_model
from ctonnx_export.image_sets import ImageSet, batches_with_progress

__all__ = ["ComparisonSet", "Suspicion", "Trial", "try_model"]

_TIMED = 15  # runs


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """Numbers of images that are suspicious only to the reference (lost) or only to the candidate (gained)."""

    lost: int
    gained: int


@dataclass(frozen=True, kw_only=True)
class ComparisonSet:
    """Images and reference outputs to compare candidates with.

    Attributes:
        parts: Image sets, the validation images first.
        reference: Outputs of the FP32 model for all images.
        spec: Spec of the FP32 model, whose operating point is compared, too; None skips that.
    """

    parts: tuple[ImageSet, ...]
    reference: Outputs
    spec: ModelSpec | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each image."""
        return np.concatenate([part.labels for part in self.parts])

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each split."""
        return {split: len(part) for split, part in zip(("valid", "train"), self.parts, strict=False)}

    @property
    def novelty_threshold(self) -> float | None:
        """Highest novelty that is not flagged; None without this output."""
        return self.spec.novelty.threshold if self.spec and self.spec.novelty else None

    def changed_suspicion(self, outputs: Outputs) -> Suspicion | None:
        """Returns the numbers of images with another verdict than the reference's; None without an operating point."""
        if self.spec is None or self.spec.operating_point is None:
            return None
        reference, candidate = (
            self.spec.operating_point.calls(of.probabilities, self.spec.classes) for of in (self.reference, outputs)
        )
        return Suspicion(lost=int((reference & ~candidate).sum()), gained=int((candidate & ~reference).sum()))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Result of comparing and timing one candidate.

    Attributes:
        parity: Comparison with the FP32 model's outputs on all images.
        change: Change of accuracy on all images; None without labels.
        validation: Change of accuracy on the validation images; None without labels.
        suspicion: Images with another verdict than FP32's; None without an operating point.
        milliseconds: Time for one image on this machine, as the median of a few runs: comparable within one table only.
        bytes: Size of the file.
        broken: Bounds of the gate that the candidate exceeds.
        scheme: Quantization scheme, JSON-ready; empty if the candidate is not quantized.
    """

    parity: Parity
    change: AccuracyChange | None = None
    validation: AccuracyChange | None = None
    suspicion: Suspicion | None = None
    milliseconds: float
    bytes: int
    broken: tuple[BrokenBound, ...]
    scheme: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[str, ...]:
        """A phrase for each broken bound."""
        return tuple(bound.phrase for bound in self.broken)

    @property
    def score(self) -> tuple[float, float, float]:
        """Sort key: distance from the gate (0 within it), then agreement, then mean |dp|; the largest is the best."""
        excess = sum(bound.excess for bound in self.broken)
        return -excess, self.parity.agreement, -self.parity.mean_dp

    @property
    def summary(self) -> str:
        """Measured values and broken bounds in one line."""
        verdict = f"rejected: {'; '.join(self.failures)}" if self.broken else "passes"
        usual = GATES["int8"]  # the verdict names a bound that the user chose
        agreement = rounding.shown(self.parity.agreement, usual.min_agreement, digits=2, form="%")
        heatmaps = rounding.shown(self.parity.heatmap_correlation, usual.min_heatmap_correlation, digits=4, form="f")
        novelty = "" if (ranks := self.parity.novelty_correlation) is None else f", novelty {self._ranks(ranks)}"
        return f"agreement {agreement}, mean |dp| {self.parity.mean_dp:.3g}, heatmaps {heatmaps}{novelty}: {verdict}"

    @staticmethod
    def _ranks(correlation: float) -> str:
        return rounding.shown(correlation, GATES["int8"].min_novelty_correlation or 0.0, digits=4, form="f")

    def as_dict(self) -> dict[str, Any]:
        """Returns the entries for the report."""
        return {
            **self.scheme,
            "parity": self.parity.as_dict(),
            "accuracy": self.change and self.change.as_dict(),
            "accuracy_on_validation": self.validation and self.validation.as_dict(),
            "changed_suspicion": self.suspicion and asdict(self.suspicion),
            "milliseconds": round(self.milliseconds, 2),
            "bytes": self.bytes,
            "failures": list(self.failures),
        }


def try_model(model: onnx.ModelProto, compared: ComparisonSet, gate: Gate, scheme: Mapping[str, Any] = {}) -> Trial:
    """Compares a model with its reference on the CPU, and times it."""
    session = open_model(model)
    batches = batches_with_progress("comparing", *compared.parts)
    names = output_names([item.name for item in session.get_outputs()])
    outputs = Outputs.concatenate([Outputs(*session.run(names, {"pixels": pixels})) for pixels in batches])
    parity = compare(compared.reference, outputs, threshold=compared.novelty_threshold)
    change = accuracy_change(compared.reference, outputs, compared.labels)
    first = len(compared.parts[0])
    validation = accuracy_change(compared.reference[:first], outputs[:first], compared.labels[:first])
    one = {"pixels": compared.parts[0].pixels([0])}
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        session.run(names, one)
        seconds.append(time.perf_counter() - start)
    return Trial(
        parity=parity,
        change=change,
        validation=validation,
        suspicion=compared.changed_suspicion(outputs),
        milliseconds=statistics.median(seconds) * 1000,
        bytes=model.ByteSize(),
        broken=gate.broken(parity, change, validation),
        scheme=scheme,
    )
