"""Groups of slices with chosen scores, and their results, without a model."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ctonnx.artifacts.decision.novelty import PERCENTILES, Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import Aggregate, PatientRule
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
from ctonnx.prediction.results import Failure, Prediction, Record
from ctonnx.prediction.series.grouping import Group
from ctonnx.prediction.series.ordering import in_order
from ctonnx.prediction.series.reduction import GroupPrediction, GroupRecord, GroupRule, Reduction
from ctonnx.prediction.series.slices import SliceRecord

POINT = OperatingPoint(positive=("tumor",), threshold=0.5, sensitivity=1.0, specificity=0.9)
SPEC = ModelSpec(
    name="lungs",
    classes=("normal", "tumor"),
    preprocessing=Preprocessing(size=64),
    precision="fp32",
    created="2026-01-02T03:04:05+00:00",
    checkpoint_sha256="ab" * 32,
    data={},
    synthetic=False,
    metrics={},
    parity={},
    versions={},
    operating_point=POINT,
    novelty=Novelty(
        threshold=90.0,
        quantile=0.99,
        quantiles=tuple(map(float, range(PERCENTILES))),
        images=100,
        training_images=100,
        components=3,
    ),
)


def with_rule(aggregate: Aggregate, k: int | None = None, threshold: float = 0.5, **changes: Any) -> ModelSpec:
    """Returns the spec with a rule for patients."""
    point = replace(POINT, threshold=threshold)
    return replace(
        SPEC, patient_rule=PatientRule(aggregate=aggregate, k=k, operating_point=point, patients=40, **changes)
    )


def prediction(source: str, score: float, **changes: Any) -> Prediction:
    """Returns a prediction for a slice; float32 scores are exact, as those of a model."""
    tumor, normal = float(np.float32(score)), float(np.float32(1 - score))
    pairs = sorted({"tumor": tumor, "normal": normal}.items(), key=lambda pair: -pair[1])
    heatmap = np.zeros((2, 2, 2), np.float32)
    heatmap[:, 0, 1] = 1
    settings = {"score": tumor, "novelty": 10.0, "is_novel": False, **changes}
    return Prediction(source, dict(pairs), np.zeros(2, np.float32), heatmap, **settings)


def group_of(files: Iterable[str | SliceRecord], **changes: Any) -> Group:
    """Returns a series of files."""
    slices = tuple(file if isinstance(file, SliceRecord) else SliceRecord(file) for file in files)
    return Group(**{"by": "series", "name": "ab12", "folders": ("scans",), "files": slices, **changes})


def reduced(
    scores: Sequence[float | Record], spec: ModelSpec = SPEC, *, positions: bool = False, **changes: Any
) -> GroupRecord:
    """Returns the result for slices `scans/1.dcm` and so on with scores, or records of these names."""
    names = [f"scans/{number}.dcm" for number in range(1, len(scores) + 1)]
    slices = [
        SliceRecord(name, position=-100 + 2.5 * number if positions else None, plane="axial" if positions else None)
        for number, name in enumerate(names)
    ]
    group = group_of(slices, **changes)
    rule = GroupRule.of(spec)
    assert rule is not None
    reduction = Reduction(group, in_order(slices), spec, rule)
    for name, score in zip(names, scores, strict=True):
        record = score if isinstance(score, Prediction | Failure) else prediction(name, score)
        assert reduction.takes(record)
        reduction.add(record)
    return reduction.result()


def predicted(
    scores: Sequence[float | Record], spec: ModelSpec = SPEC, *, positions: bool = False, **changes: Any
) -> GroupPrediction:
    """Returns the prediction for slices; see `reduced`."""
    found = reduced(scores, spec, positions=positions, **changes)
    assert isinstance(found, GroupPrediction)
    return found
