"""Trial of a candidate: comparison with its FP32 original, and timing."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import decide_all
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity import rounding
from ctonnx.parity.acceptance_gates import GATES, BrokenBound, Gate
from ctonnx.parity.comparison import AccuracyChange, Parity, accuracy_change, compare, compare_probabilities
from ctonnx.parity.intervals import share_interval
from ctonnx.parity.outputs import Outputs, output_names
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.sessions import open_model
from ctonnx_export.image_sets import ImageSet, batches_with_progress

__all__ = [
    "ComparisonSet",
    "Decider",
    "Measured",
    "Suspicion",
    "Trial",
    "UnseenSet",
    "compare_decisions",
    "compare_on_test",
    "decision_changes",
    "decisions_of",
    "judge",
    "measure",
    "try_model",
]

_TIMED = 15  # runs


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """Numbers of images that are suspicious only to the reference (lost) or only to the candidate (gained)."""

    lost: int
    gained: int


@dataclass(frozen=True, kw_only=True)
class UnseenSet:
    """The run's test images, which chose nothing, and the reference's outputs for them."""

    images: ImageSet
    reference: Outputs


@dataclass(frozen=True, kw_only=True)
class ComparisonSet:
    """Images and reference outputs to compare candidates with.

    A row is an index into all images, in the order of the parts.

    Attributes:
        parts: Image sets, the validation images first.
        reference: Outputs of the FP32 model for all images.
        spec: Spec of the FP32 model, whose operating point and decisions are compared, too; None skips that.
        test: Test images, on which no candidate is chosen; None if there are none.
        origins: Origin of each part, as in `ImageSets.origins`.
        patients: Patients by the path of an image, as far as they are known.
        seed: Seed of the division into images that choose and images that judge.
    """

    parts: tuple[ImageSet, ...]
    reference: Outputs
    spec: ModelSpec | None = None
    test: UnseenSet | None = None
    origins: tuple[str, ...] = ("valid", "train")
    patients: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each image."""
        return np.concatenate([part.labels for part in self.parts])

    @property
    def part_of(self) -> NDArray[np.intp]:
        """Index of each image's part."""
        return np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts])

    @property
    def groups(self) -> tuple[str, ...]:
        """Name of each image's group, whose images must not be divided: its patient, else its copies."""
        return tuple(
            (self.patients.get(sample.path) if origin != "added" else None)
            or part.store.digests.get(sample.path)
            or f"{origin}/{sample.path}"
            for origin, part in zip(self.origins, self.parts, strict=False)
            for sample in part.samples
        )

    def pixels(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Returns the pixels of some rows: uint8 [rows, size, size, 3]."""
        starts = np.cumsum([0, *(len(part) for part in self.parts)])
        parts = self.part_of[rows]
        return np.concatenate(
            [self.parts[part].pixels([row - starts[part]]) for row, part in zip(rows, parts, strict=True)]
        )

    def counts(self, rows: NDArray[np.intp] | None = None) -> dict[str, int]:
        """Returns the number of images of each origin, of all images or of some rows."""
        parts = self.part_of if rows is None else self.part_of[rows]
        found = zip(self.origins, np.bincount(parts, minlength=len(self.parts)).tolist(), strict=False)
        return {origin: count for origin, count in found if count or origin != "added"}

    @property
    def novelty_threshold(self) -> float | None:
        """Highest novelty that is not flagged; None without this output."""
        return self.spec.novelty.threshold if self.spec and self.spec.novelty else None

    def decided(self, rows: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
        """Returns the rows on which decisions are compared: those after the validation images.

        The validation images fitted what decides: some of them are exactly at a threshold, where a difference of any
        size changes the decision. Without an operating point there are no such rows.
        """
        rows = np.arange(len(self)) if rows is None else rows
        return rows[rows >= len(self.parts[0])] if self.spec and self.spec.operating_point else rows[:0]

    def decision_agreement(self, outputs: Outputs, rows: NDArray[np.intp] | None = None) -> float | None:
        """Returns the share of the rows in `decided` that are decided as by the reference; None if there are none."""
        decided = self.decided(rows)
        if self.spec is None or not len(decided):
            return None
        reference, candidate = (decisions_of(self.spec, of[decided]) for of in (self.reference, outputs))
        return None if reference is None or candidate is None else float((reference == candidate).mean())

    def changed_suspicion(self, outputs: Outputs, rows: NDArray[np.intp] | None = None) -> Suspicion | None:
        """Returns the numbers of images with another verdict than the reference's; None without an operating point."""
        if self.spec is None or self.spec.operating_point is None:
            return None
        rows = np.arange(len(self)) if rows is None else rows
        reference, candidate = (
            self.spec.operating_point.calls(of.probabilities[rows], self.spec.classes)
            for of in (self.reference, outputs)
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


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Outputs and time of one candidate, which any rows can then be compared on.

    Attributes:
        outputs: Outputs for all compared images.
        milliseconds: Time for one image, of `Trial`.
        bytes: Size of the file.
        scheme: Quantization scheme, of `Trial`.
    """

    outputs: Outputs
    milliseconds: float
    bytes: int
    scheme: Mapping[str, Any] = field(default_factory=dict)


def measure(model: onnx.ModelProto, compared: ComparisonSet, scheme: Mapping[str, Any] = {}) -> Measured:
    """Runs a model on the CPU, on all compared images, and times it."""
    session = open_model(model)
    names = output_names([item.name for item in session.get_outputs()])
    batches = batches_with_progress("comparing", *compared.parts)
    outputs = Outputs.concatenate([Outputs(*session.run(names, {"pixels": pixels})) for pixels in batches])
    one = {"pixels": compared.parts[0].pixels([0])}
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        session.run(names, one)
        seconds.append(time.perf_counter() - start)
    milliseconds = statistics.median(seconds) * 1000
    return Measured(outputs=outputs, milliseconds=milliseconds, bytes=model.ByteSize(), scheme=scheme)


def judge(measured: Measured, compared: ComparisonSet, gate: Gate, rows: NDArray[np.intp] | None = None) -> Trial:
    """Compares the outputs of a candidate with its reference's and the gate, on all images or on some rows."""
    rows = np.arange(len(compared)) if rows is None else rows
    reference, outputs, labels = compared.reference[rows], measured.outputs[rows], compared.labels[rows]
    parity = replace(
        compare(reference, outputs, threshold=compared.novelty_threshold),
        decision_agreement=compared.decision_agreement(measured.outputs, rows),
        decision_images=len(compared.decided(rows)) or None,
    )
    change = accuracy_change(reference, outputs, labels)
    (first,) = np.nonzero(rows < len(compared.parts[0]))
    validation = accuracy_change(reference[first], outputs[first], labels[first])
    return Trial(
        parity=parity,
        change=change,
        validation=validation,
        suspicion=compared.changed_suspicion(measured.outputs, rows),
        milliseconds=measured.milliseconds,
        bytes=measured.bytes,
        broken=gate.broken(parity, change, validation),
        scheme=measured.scheme,
    )


def try_model(model: onnx.ModelProto, compared: ComparisonSet, gate: Gate, scheme: Mapping[str, Any] = {}) -> Trial:
    """Compares a model with its reference on the CPU, on all images, and times it."""
    return judge(measure(model, compared, scheme), compared, gate)


def compare_on_test(model: onnx.ModelProto, compared: ComparisonSet) -> dict[str, Any]:
    """Compares a model with its reference on the test images, on which no model is chosen.

    Returns:
        JSON-ready facts for the report: `agreement_on_test`, with the number of `images`, the `agreement` with its
        interval, and `mean_dp`; and `decisions_on_test`, from `compare_decisions`. Either is None if it is unknown.
    """
    test = compared.test
    if test is None:
        return {"agreement_on_test": None, "decisions_on_test": None}
    outputs = run_onnx(model, batches_with_progress("test images", test.images))
    agreement, _, mean_dp = compare_probabilities(test.reference.probabilities, outputs.probabilities)
    found = {
        "images": len(test.images),
        "agreement": rounding.rounded_down(agreement),
        "agreement_interval": [round(end, 6) for end in share_interval(agreement, len(test.images))],
        "mean_dp": rounding.rounded_up(mean_dp),
    }
    return {"agreement_on_test": found, "decisions_on_test": compare_decisions(outputs, compared)}


def compare_decisions(outputs: Outputs, compared: ComparisonSet) -> dict[str, Any] | None:
    """Compares a model's decisions about the test images, on which no model is chosen, with its reference's.

    Returns:
        A JSON-ready dictionary: the numbers of `images`, of `opposite` decisions (positive and negative), of
        `newly_referred` and `newly_decided` images, the `changed_share` with its interval and, with prediction sets,
        the `coverage` by class as in `ctonnx_train.evaluation.fitting.decisions.decision_metrics`, and that of the
        reference, `reference_coverage`. None without test images or an operating point.
    """
    spec, test = compared.spec, compared.test
    if spec is None or test is None:
        return None
    before, after = (decisions_of(spec, of) for of in (test.reference, outputs))
    if before is None or after is None:
        return None
    found = decision_changes(before, after)
    if spec.prediction_sets is not None:
        labels = test.images.labels
        for name, of in (("coverage", outputs), ("reference_coverage", test.reference)):
            inside = spec.prediction_sets.sets(of.probabilities, spec.classes)
            found[name] = {
                title: {
                    **_share("share", inside[labels == index, index]),
                    "images": int((labels == index).sum()),
                    "promised": spec.prediction_sets.covered(title),
                }
                for index, title in enumerate(spec.classes)
            }
    return found


class Decider(Protocol):
    """A spec or a run's record: the values that decide about an image."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""

    @property
    def operating_point(self) -> OperatingPoint | None:
        """Threshold for suspicious images."""

    @property
    def prediction_sets(self) -> PredictionSets | None:
        """Classes that an image may have."""

    @property
    def novelty(self) -> Novelty | None:
        """Threshold of the novelty."""


def decision_changes(before: NDArray[np.str_], after: NDArray[np.str_]) -> dict[str, Any]:
    """Compares two models' decisions about the same images: the numbers and the share of `compare_decisions`."""
    changed = before != after
    return {
        "images": len(changed),
        "opposite": int((changed & (before != "refer") & (after != "refer")).sum()),
        "newly_referred": int((changed & (after == "refer")).sum()),
        "newly_decided": int((changed & (before == "refer")).sum()),
        **_share("changed_share", changed),
    }


def decisions_of(spec: Decider, outputs: Outputs) -> NDArray[np.str_] | None:
    """Returns the decision about each image, [images], without warnings about it; None without an operating point."""
    if spec.operating_point is None:
        return None
    found = decide_all(
        outputs.probabilities,
        spec.classes,
        spec.operating_point,
        sets=spec.prediction_sets,
        limit=spec.novelty,
        novelty=outputs.novelty,
    )
    return np.array([decision.name for decision in found], np.str_)


def _share(name: str, flags: NDArray[np.bool_]) -> dict[str, Any]:
    share = float(flags.mean()) if len(flags) else None
    interval = None if share is None else [round(end, 6) for end in share_interval(share, len(flags))]
    return {name: None if share is None else round(share, 6), f"{name}_interval": interval}
