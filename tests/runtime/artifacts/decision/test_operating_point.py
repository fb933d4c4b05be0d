"""The operating point: the score, its threshold and the metrics there."""

import copy
import json
import math
import re
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
from tests.runtime.artifacts.specs import FULL, POINT

from ctonnx.artifacts.decision.operating_point import OperatingPoint, suspicion
from ctonnx.artifacts.json_schema import SchemaError


def test_metrics_are_printed_with_their_intervals_if_known() -> None:
    assert POINT.metrics_text == "sensitivity 0.970 [0.910, 0.990], specificity 0.800 [0.700, 0.870]"
    bare = replace(POINT, sensitivity_interval=None, specificity_interval=None)
    assert bare.metrics_text == "sensitivity 0.970, specificity 0.800"


def test_the_full_operating_point_leaves_no_field_at_its_default() -> None:
    assert [item.name for item in fields(OperatingPoint) if getattr(POINT, item.name) == item.default] == []


def test_operating_point_is_read_back_from_json() -> None:
    assert OperatingPoint.from_dict(json.loads(json.dumps(asdict(POINT)))) == POINT
    plain = replace(POINT, sensitivity_interval=None, target_sensitivity=None)
    assert OperatingPoint.from_dict(json.loads(json.dumps(asdict(plain)))) == plain


def test_document_of_an_operating_point_is_not_changed() -> None:
    given = {**asdict(POINT), "later": 1}
    before = copy.deepcopy(given)
    OperatingPoint.from_dict(given)
    assert given == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positive": None}, "expected a list at 'operating_point.positive', found null"),
        ({"positive": 3}, "expected a list at 'operating_point.positive', found 3"),
        ({"sensitivity_interval": 0.9}, "expected a list at 'operating_point.sensitivity_interval', found 0.9"),
    ],
)
def test_operating_point_of_another_shape_is_rejected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=f"^{re.escape(message)}$"):
        OperatingPoint.from_dict({**asdict(POINT), **changes})


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ({"zdravé": 0.25, "large cell": 0.5, "普通": 0.25}, 0.75),
        ({"普通": 0.125, "zdravé": 0.875, "large cell": 0.0}, 0.125),
        ({"zdravé": 1.0, "large cell": 0.0, "普通": 0.0}, 0.0),
    ],
)
def test_suspicion_is_the_sum_of_the_positive_classes_probabilities(
    probabilities: dict[str, float], expected: float
) -> None:
    rows = np.array([list(probabilities.values())], np.float32)
    assert suspicion(rows, list(probabilities), POINT.positive).tolist() == [expected]
    at_threshold = replace(POINT, threshold=expected)
    just_above = replace(POINT, threshold=float(np.nextafter(expected, 2)))
    assert at_threshold.calls(rows, list(probabilities)).tolist() == [True]
    assert just_above.calls(rows, list(probabilities)).tolist() == [False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positive": ("普通", "cancer")}, "expected positive classes, each once and not all, of ['zdravé', "),
        ({"threshold": math.inf}, "expected a threshold that is a number, found inf"),
        ({"specificity": -0.5}, "expected a specificity from 0 to 1, found -0.5"),
        ({"target_sensitivity": 95.0}, "expected a target_sensitivity from 0 to 1, found 95.0"),
        ({"specificity_interval": (1.0, 0.5)}, "expected a specificity_interval from low to high, 0 to 1, found [1.0,"),
        ({"gap": (0.6, 0.1)}, "expected a gap from low to high, 0 to 1, found [0.6, 0.1]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_value_out_of_range_is_rejected(changes: dict[str, Any], message: str) -> None:
    POINT.validate(FULL.classes)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        replace(POINT, **changes).validate(FULL.classes)
