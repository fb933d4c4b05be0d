"""The records of a group's slices, one by one, to one prediction for the group."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.operating_point import OperatingPoint, suspicion
from ctonnx.artifacts.decision.patient_rule import Aggregate, aggregate_slices, is_referred
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import DecisionName, decide
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.prediction.results import Failure, Prediction, Record
from ctonnx.prediction.series.choice import OTHER_STUDY, LeftOut
from ctonnx.prediction.series.grouping import Group, GroupBy
from ctonnx.prediction.series.ordering import Axis, Ordered
from ctonnx.prediction.series.slices import SliceRecord
from ctonnx.system.text import counted

__all__ = ["Curve", "GroupFailure", "GroupPrediction", "GroupRecord", "GroupRule", "Reduction", "Slice"]

_KEYS = (
    *("group", "by", "folders", "decision", "reason", "score", "label", "probability", "probabilities", "set"),
    *("novelty", "novel_share", "carried_by", "carrying", "used", "failed", "failures", "left_out", "taken", "error"),
)
SHOWN = 5
"""Maximum number of carrying slices, and of failed ones, in a row."""

_STRONGEST = 3


class GroupRule(NamedTuple):
    """Rule that decides about a group.

    Attributes:
        aggregate: Slices that carry the score.
        k: Their number for `top-k`.
        point: Operating point of the score.
        sets: Prediction sets of the mean probabilities; None if the model has none.
        of_patients: Whether it was fitted on patients; else it is the one for slices.
    """

    aggregate: Aggregate
    k: int | None
    point: OperatingPoint
    sets: PredictionSets | None
    of_patients: bool

    @classmethod
    def of(cls, spec: ModelSpec) -> "GroupRule | None":
        """Returns the rule for patients, else that of the most suspicious slice; None without an operating point."""
        if (rule := spec.patient_rule) is not None:
            return cls(rule.aggregate, rule.k, rule.operating_point, rule.prediction_sets, of_patients=True)
        if spec.operating_point is None:
            return None
        return cls("max", None, spec.operating_point, spec.prediction_sets, of_patients=False)


class Slice(NamedTuple):
    """A slice that carried a group's score.

    Attributes:
        file: Path; of one frame of several, it ends in `#1` for the first.
        position: Position along the body in mm; None if unknown.
        number: Instance Number, or the place in the order of the names, from 1; None if the position is known.
        score: Score of the slice.
    """

    file: str
    position: float | None
    number: int | None
    score: float

    @property
    def place(self) -> str:
        """Position or number in words."""
        return f"slice {self.number}" if self.position is None else f"{self.position:.1f} mm"

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document."""
        return {"file": self.file, "position_mm": self.position, "number": self.number, "score": self.score}


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """The score along the body.

    Attributes:
        axis: Unit of the places.
        places: float64 [slices], in ascending order.
        scores: float64 [slices].
        carrying: Indices of the slices that carried the group's score, the highest score first.
        flagged: Whether each slice is unlike the training images or has a warning, bool [slices].
        is_axial: Whether all slices are axial, whose positions increase towards the head.
    """

    axis: Axis
    places: NDArray[np.float64]
    scores: NDArray[np.float64]
    carrying: NDArray[np.intp]
    flagged: NDArray[np.bool_]
    is_axial: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupPrediction:
    """Prediction for a series, study, patient or folder.

    Attributes:
        by: Kind of the group.
        name: Pseudonym, or path of the folder.
        folders: Folders of its files.
        probabilities: Mean probability of each class over the carrying slices, in descending order.
        score: Mean score of the carrying slices.
        decision: `positive`, `negative` or `refer`.
        reason: Reason for `refer`; else None.
        prediction_set: Classes that it may have; None if the rule has no sets.
        novelty: Median novelty of the carrying slices; None if the model has no such output.
        novel_share: Share of the used slices that are unlike the training images, 0 to 1; None without novelty.
        carried_by: Slices that carried the score, the highest first; the first five.
        carrying: Number of slices that carried it.
        used: Number of predicted slices.
        failed: Number of slices that could not be read.
        failures: The first five of these.
        left_out: Slices that were not predicted, with their reasons.
        taken: The series that was chosen of a study or patient, and why; empty for others.
        series: Number of series that the slices are of; 0 if unknown, as for all files but DICOM.
        curve: The score along the body.
        strongest: Predictions of the three slices with the highest scores, and their indices in the curve.
    """

    by: GroupBy
    name: str
    folders: tuple[str, ...]
    probabilities: Mapping[str, float]
    score: float
    decision: DecisionName
    reason: str | None
    prediction_set: tuple[str, ...] | None
    novelty: float | None
    novel_share: float | None
    carried_by: tuple[Slice, ...]
    carrying: int
    used: int
    failed: int
    failures: tuple[Failure, ...]
    left_out: tuple[LeftOut, ...]
    taken: str
    series: int
    curve: Curve
    strongest: tuple[tuple[int, Prediction], ...]

    @property
    def label(self) -> str:
        """The class with the highest mean probability."""
        return next(iter(self.probabilities))

    @property
    def probability(self) -> float:
        """The mean probability of `label`, 0 to 1."""
        return next(iter(self.probabilities.values()))

    def top(self, count: int) -> list[tuple[str, float]]:
        """Returns the `count` most probable classes with their probabilities, in descending order."""
        return list(islice(self.probabilities.items(), count))

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document, without the curve."""
        return {
            "group": self.name,
            "by": self.by,
            "folders": list(self.folders),
            "decision": self.decision,
            "reason": self.reason,
            "score": self.score,
            "label": self.label,
            "probability": self.probability,
            "probabilities": dict(self.probabilities),
            "set": None if self.prediction_set is None else list(self.prediction_set),
            "novelty": self.novelty,
            "novel_share": self.novel_share,
            "carried_by": [one.as_dict() for one in self.carried_by],
            "carrying": self.carrying,
            "used": self.used,
            "failed": self.failed,
            "failures": [{"file": one.source, "error": one.error} for one in self.failures],
            "left_out": [{"reason": one.reason, "slices": one.slices} for one in self.left_out],
            "taken": self.taken or None,
            "error": None,
        }


@dataclass(frozen=True, kw_only=True)
class GroupFailure:
    """Result for a group without any predicted slice; its attributes are those of a `GroupPrediction`.

    The error is None if all slices of a series were left out, and nothing failed.
    """

    by: GroupBy
    name: str | None
    folders: tuple[str, ...]
    error: str | None
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON document with the keys of `GroupPrediction.as_dict`."""
        nothing: dict[str, Any] = dict.fromkeys(_KEYS)
        return nothing | {
            "group": self.name,
            "by": self.by,
            "folders": list(self.folders),
            "probabilities": {},
            "carried_by": [],
            "carrying": 0,
            "used": 0,
            "failed": self.failed,
            "failures": [{"file": one.source, "error": one.error} for one in self.failures],
            "left_out": [{"reason": one.reason, "slices": one.slices} for one in self.left_out],
            "error": self.error,
        }


GroupRecord: TypeAlias = GroupPrediction | GroupFailure
"""Result for one group."""


class Reduction:
    """Reduces the records of a group's slices: a few numbers of each are kept, and the three strongest predictions.

    Args:
        group: The group.
        ordered: Its slices in order.
        spec: Spec of the model.
        rule: Rule that decides about the group.
    """

    def __init__(self, group: Group, ordered: Ordered, spec: ModelSpec, rule: GroupRule) -> None:
        self._group, self._spec, self._rule = group, spec, rule
        self._slices, self._axis = ordered
        self._next = 0
        self._seen = 0
        self._named: list[tuple[str, float]] = []  # source and place
        self._probabilities: list[NDArray[np.float32]] = []
        self._novelty: list[float] = []
        self._novel: list[bool] = []
        self._cautions: list[str | None] = []
        self._strongest: list[tuple[float, int, Prediction]] = []
        self._failures: list[Failure] = []
        self._failed = 0

    def takes(self, record: Record) -> bool:
        """Returns whether a record is of this group; records come in the order of the slices."""
        while self._next < len(self._slices):
            name = self._slices[self._next].file
            if record.source == (name if record.frame is None else f"{name}#{record.frame + 1}"):
                return True
            self._next += 1
        return False

    def add(self, record: Record) -> None:
        """Adds a record for which `takes` returned True."""
        self._seen += 1
        if isinstance(record, Failure):
            self._failed += 1
            if len(self._failures) < SHOWN:
                self._failures.append(record)
            return
        values = np.array([record.probabilities[name] for name in self._spec.classes], np.float32)
        score = float(suspicion(values[None], self._spec.classes, self._rule.point.positive)[0])
        strongest = (score, -len(self._named), record)
        if len(self._strongest) < _STRONGEST:
            heapq.heappush(self._strongest, strongest)
        else:
            heapq.heappushpop(self._strongest, strongest)
        self._named.append((record.source, self._place(self._slices[self._next])))
        self._probabilities.append(values)
        self._novelty.append(np.nan if record.novelty is None else record.novelty)
        self._novel.append(bool(record.is_novel))
        self._cautions.append(record.caution)

    def result(self) -> GroupRecord:
        """Returns the result for the group after its last record."""
        group = self._group
        if not self._named:
            return GroupFailure(
                by=group.by,
                name=group.name,
                folders=group.folders,
                error=group.error or (_failed_text(self._failed, self._failures) if self._failed else None),
                failed=group.failed + self._failed,
                failures=tuple(self._failures),
                left_out=group.left_out,
            )
        probabilities = np.stack(self._probabilities)
        classes, rule = self._spec.classes, self._rule
        scores, carrying, mean = aggregate_slices(probabilities, classes, rule.point.positive, rule.aggregate, rule.k)
        score = float(suspicion(mean[None], classes, rule.point.positive)[0])
        in_set = None
        if rule.sets is not None:
            inside = rule.sets.sets(mean[None], classes)[0]
            in_set = tuple(name for name, is_inside in zip(classes, inside, strict=True) if is_inside)
        decision, reason = decide(
            score >= rule.point.threshold,
            rule.point.positive,
            classes_in_set=in_set,
            caution=self._warning(carrying),
        )
        if decision == "negative" and self._failed:
            decision = "refer"
            reason = f"{self._failed} of {self._failed + len(scores)} slices cannot be read, and a finding may be there"
        elif decision == "negative" and (other := sum(one.slices for one in group.left_out if one.kind == OTHER_STUDY)):
            decision = "refer"
            reason = (
                f"{counted(other, 'slice')} of another study {'is' if other == 1 else 'are'} not predicted, and a "
                "finding may be there; --by study decides about each"
            )
        has_novelty = self._spec.novelty is not None
        novelty = np.array(self._novelty)[carrying]
        known = novelty[np.isfinite(novelty)]
        pairs = sorted(zip(classes, mean.tolist(), strict=True), key=lambda pair: -pair[1])
        return GroupPrediction(
            by=group.by,
            name=group.name or "",
            folders=group.folders,
            probabilities=dict(pairs),
            score=min(1.0, score),  # float32 sums may exceed 1
            decision=decision,
            reason=reason,
            prediction_set=in_set,
            novelty=float(np.median(known)) if has_novelty and len(known) else None,
            novel_share=float(np.mean(self._novel)) if has_novelty else None,
            carried_by=tuple(self._slice(index, scores) for index in carrying[:SHOWN]),
            carrying=len(carrying),
            used=len(scores),
            failed=self._failed,
            failures=tuple(self._failures),
            left_out=group.left_out,
            taken=group.taken,
            series=len({(one.study, one.series) for one in self._slices} - {("", "")}),
            curve=Curve(
                axis=self._axis,
                places=np.array([place for _, place in self._named]),
                scores=scores,
                carrying=carrying,
                flagged=np.array([novel or caution is not None for novel, caution in self._flags()]),
                is_axial=all(one.plane == "axial" for one in self._slices),
            ),
            strongest=tuple(
                (-index, found) for _, index, found in sorted(self._strongest, key=lambda one: one[:2])[::-1]
            ),
        )

    def _place(self, one: SliceRecord) -> float:
        if self._axis == "mm" and one.position is not None:
            return one.position
        return float(one.instance) if self._axis == "instance" and one.instance is not None else float(self._seen)

    def _slice(self, index: int, scores: NDArray[np.float64]) -> Slice:
        source, place = self._named[index]
        position, number = (place, None) if self._axis == "mm" else (None, int(place))
        return Slice(source, position, number, min(1.0, float(scores[index])))

    def _flags(self) -> Iterator[tuple[bool, str | None]]:
        return zip(self._novel, self._cautions, strict=True)

    def _warning(self, carrying: NDArray[np.intp]) -> str | None:
        """Returns the reason to refer the group if more than half of its carrying slices are flagged, else None."""
        flags = list(self._flags())
        flagged = [flags[index] for index in carrying if flags[index] != (False, None)]
        if not is_referred(np.array([flags[index] != (False, None) for index in carrying], bool)):
            return None
        kinds = ["unlike the training images"] if any(novel for novel, _ in flagged) else []
        kinds += dict.fromkeys(caution for _, caution in flagged if caution is not None)
        what = "the slice" if len(carrying) == 1 else f"{len(flagged)} of the {len(carrying)} slices"
        return f"{what} that carried the score {'is' if len(carrying) == 1 else 'are'} flagged: {'; '.join(kinds)}"


def _failed_text(failed: int, failures: Sequence[Failure]) -> str:
    """Returns the error of a group whose slices all failed, with the first one's reason."""
    reason = failures[0].error
    return reason if failed == 1 else f"none of its {counted(failed, 'file')} can be read; the first: {reason}"
