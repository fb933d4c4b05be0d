"""A trial: one candidate model, compared with its FP32 original on the comparison images and timed."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity import rounding
from ctonnx.parity.comparison import AccuracyChange, Parity, accuracy_change, compare
from ctonnx.parity.gates import GATES, BrokenBound, Gate
from ctonnx.parity.outputs import OUTPUT_NAMES, Outputs
from ctonnx_export.graph.sessions import open_model
from ctonnx_export.image_sets import BATCH, ImageSet, shown

__all__ = ["ComparisonSet", "Suspicion", "Trial", "try_model"]


_TIMED = 15


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """On how many images a candidate answers "suspicious" otherwise than its reference.

    Attributes:
        lost: Suspicious to the reference, and not to the candidate.
        gained: Suspicious to the candidate alone.
    """

    lost: int
    gained: int


@dataclass(frozen=True, kw_only=True)
class ComparisonSet:
    """What a candidate is compared with.

    Attributes:
        parts: The images, in parts: the validation images first.
        reference: The FP32 model's answers for all of them.
        spec: The FP32 model's, whose operating point is looked at; None looks at none.
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
        """How many images there are of each split."""
        return {split: len(part) for split, part in zip(("valid", "train"), self.parts, strict=False)}

    def changed_suspicion(self, outputs: Outputs) -> Suspicion | None:
        """Returns on how many images "suspicious" is answered otherwise; None without an operating point."""
        if self.spec is None or self.spec.operating_point is None:
            return None
        ours, theirs = (
            self.spec.operating_point.calls(answers.probabilities, self.spec.classes)
            for answers in (self.reference, outputs)
        )
        return Suspicion(lost=int((ours & ~theirs).sum()), gained=int((theirs & ~ours).sum()))

    def batches(self, count: int = BATCH) -> Iterator[NDArray[np.uint8]]:
        """Yields the images, at most `count` at a time: uint8 [images, size, size, 3]."""
        for part in self.parts:
            yield from part.batches(count)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How a candidate did.

    Attributes:
        parity: with the FP32 model's answers on all images.
        change: of the accuracy on all images.
        validation: of the accuracy on the validation images alone.
        suspicion: on how many images "suspicious" is answered otherwise; None without an operating point.
        milliseconds: for one image, on this machine; a median of a few runs, good for a comparison within one table.
        bytes: of the file.
        broken: The bounds of the gate that it does not keep.
    """

    parity: Parity
    change: AccuracyChange | None = None
    validation: AccuracyChange | None = None
    suspicion: Suspicion | None = None
    milliseconds: float
    bytes: int
    broken: tuple[BrokenBound, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """A phrase for each bound that is broken."""
        return tuple(bound.phrase for bound in self.broken)

    @property
    def summary(self) -> str:
        """Its figures in one line, and each bound that it does not keep, with what was found and what is allowed."""
        verdict = f"rejected: {'; '.join(self.failures)}" if self.broken else "passes"
        usual = GATES["int8"]  # the verdict names a bound that the user chose
        agreement = rounding.shown(self.parity.agreement, usual.min_agreement, digits=2, form="%")
        heatmaps = rounding.shown(self.parity.heatmap_correlation, usual.min_heatmap_correlation, digits=4, form="f")
        return f"agreement {agreement}, mean |dp| {self.parity.mean_dp:.3g}, heatmaps {heatmaps}: {verdict}"

    def as_dict(self) -> dict[str, Any]:
        """Returns what the report keeps of it."""
        return {
            "parity": self.parity.as_dict(),
            "accuracy": self.change and self.change.as_dict(),
            "accuracy_on_validation": self.validation and self.validation.as_dict(),
            "changed_suspicion": self.suspicion and asdict(self.suspicion),
            "milliseconds": round(self.milliseconds, 2),
            "bytes": self.bytes,
            "failures": list(self.failures),
        }


def try_model(model: onnx.ModelProto, compared: ComparisonSet, gate: Gate) -> Trial:
    """Returns how a model does against its reference.

    Args:
        model: to be tried on the CPU.
        compared: The images and the reference's answers.
        gate: whose bounds are looked at.
    """
    session = open_model(model)
    batches = shown("comparing", *compared.parts)
    outputs = Outputs.concatenate([Outputs(*session.run(OUTPUT_NAMES, {"pixels": pixels})) for pixels in batches])
    parity = compare(compared.reference, outputs)
    change = accuracy_change(compared.reference, outputs, compared.labels)
    first = len(compared.parts[0])
    validation = accuracy_change(compared.reference[:first], outputs[:first], compared.labels[:first])
    one = {"pixels": compared.parts[0].pixels([0])}
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        session.run(OUTPUT_NAMES, one)
        seconds.append(time.perf_counter() - start)
    return Trial(
        parity=parity,
        change=change,
        validation=validation,
        suspicion=compared.changed_suspicion(outputs),
        milliseconds=statistics.median(seconds) * 1000,
        bytes=model.ByteSize(),
        broken=gate.broken(parity, change, validation),
    )
