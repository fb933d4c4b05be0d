"""Evaluation and prediction make the same decision about the same slices of a patient."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.prediction.made_groups import predicted, prediction, with_rule

from ctonnx.artifacts.decision.patient_rule import Aggregate
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.prediction.series.choice import LeftOut
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.patients.metrics import PatientSlices, patient_metrics, rule_of

SETS = PredictionSets(
    coverage=0.9, lowest={"normal": 0.3, "tumor": 0.3}, images={"normal": 40, "tumor": 40}, positive=("tumor",)
)


def evaluated(
    scores: NDArray[np.float32],
    novel: NDArray[np.bool_],
    cautious: NDArray[np.bool_],
    label: int,
    spec: ModelSpec,
    *,
    other: int = 0,
) -> dict[str, Any]:
    """Metrics of one patient with these slices and, of another study, further ones, which score 1."""
    samples = [Sample(f"{row}", label) for row in range(len(scores) + other)]
    study = ["1"] * len(scores) + ["2"] * other
    slices = PatientSlices(
        patients=Patients(
            origin="labels file",
            names={sample.path: "A" for sample in samples},
            studies={sample.path: name for sample, name in zip(samples, study, strict=True)},
        ),
        samples=samples,
        groups=[0] * len(samples),
        is_novel=np.append(novel, np.zeros(other, bool)),
        has_caution=np.append(cautious, np.zeros(other, bool)),
    )
    every = np.append(scores, np.ones(other, np.float32))
    probabilities = np.stack([1 - every, every], axis=1)
    labels = np.full(len(samples), label)
    assert spec.patient_rule is not None
    chosen = rule_of(spec.patient_rule)
    decisions: dict[str, Any] = patient_metrics(slices, probabilities, labels, spec.classes, chosen, replicates=0)[
        "decisions"
    ]
    return decisions


@pytest.mark.parametrize("other", [0, 2])
@pytest.mark.parametrize(("aggregate", "k"), [("max", None), ("mean", None), ("top-k", 3)])
def test_decisions_are_the_same(aggregate: Aggregate, k: int | None, other: int) -> None:
    random = np.random.default_rng(7)
    seen = set()
    for _ in range(60):
        count = int(random.integers(3, 8))
        scores = random.random(count).astype(np.float32) ** random.choice([1, 4])
        novel, cautious = random.random(count) < 0.4, random.random(count) < 0.2
        sets = SETS if random.random() < 0.5 else None
        spec = with_rule(aggregate, k, threshold=0.5, prediction_sets=sets)
        records = [
            prediction(
                f"scans/{row + 1}.dcm",
                float(score),
                is_novel=bool(novel[row]),
                caution="too dark" if cautious[row] else None,
            )
            for row, score in enumerate(scores)
        ]
        left_out = (LeftOut("of another study", other, ""),) if other else ()
        decision = predicted(records, spec, left_out=left_out).decision
        seen.add(decision)
        label = int(random.integers(2))
        found = evaluated(scores, novel, cautious, label, spec, other=other)
        called = "sensitivity" if label else "specificity"
        if decision == "refer":
            assert (found["referred"], found[called]) == (1, None)
        else:
            right = (decision == "positive") == bool(label)
            assert (found["referred"], found[called]) == (0, float(right))
    assert seen == {"positive", "refer", *(() if other else ("negative",))}
