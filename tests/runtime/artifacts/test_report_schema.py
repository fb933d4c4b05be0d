"""The metrics of a spec have the types that their readers rely on."""

from typing import Any

import pytest

from ctonnx.artifacts.json_schema import SchemaError, read
from ctonnx.artifacts.report_schema import Data, GateBounds, Leaked, Metrics

LEAKS: dict[str, Any] = {
    "groups": 1,
    "files": 2,
    "groups_across_splits": 1,
    "files_across_splits": 2,
    "groups_with_several_labels": 0,
    "files_with_several_labels": 0,
    "leaked": {"valid": 1, "test": 0},
    "dropped": {},
}


def test_metrics_of_a_training_are_accepted_unchanged() -> None:
    metrics = {"images": 3, "accuracy": None, "macro": {"f1": 0.5}, "per_class": {"a": {"images": 3, "auroc": None}}}
    data = {"name": "scans", "fingerprint": "ab", "images": {"train": {"a": 3}}, "leaks": LEAKS, "later": 1}
    assert read(Metrics, metrics) == metrics
    assert read(Data, data) == data
    assert read(GateBounds, {"max_dp": 1.0, "min_agreement": 0.99, "max_drop": None}) == {
        "max_dp": 1.0,
        "min_agreement": 0.99,
        "max_drop": None,
    }


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Data, {"images": {"train": 3}}),
        (Data, {"images": {"other": {"a": 3}}}),
        (Data, {"images": {"train": {"a": -1}}}),
        (Data, {"leaks": {**LEAKS, "leaked": None}}),
        (Data, {"leaks": {}}),
        (Leaked, {**LEAKS, "groups": "1"}),
        (Metrics, {"accuracy": 1.5}),
        (Metrics, {"accuracy": "high"}),
        (Metrics, {"per_class": {"a": 1}}),
        (Metrics, {"later": float("nan")}),
        (GateBounds, {"max_dp": 1.0}),
        (GateBounds, {"max_dp": -1.0, "min_agreement": 0.99}),
    ],
    ids=repr,
)
def test_invalid_metrics_are_rejected(kind: Any, value: Any) -> None:
    with pytest.raises(SchemaError):
        read(kind, value)
