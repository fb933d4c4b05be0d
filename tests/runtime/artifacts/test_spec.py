"""The text of a spec is read back unchanged, is always the same, and is rejected with a message if it is invalid."""

import json
import math
import re
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from tests.damaging import damaged
from tests.runtime.artifacts.specs import FULL, POINT, SMALL

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.spec import (
    SCHEMA_VERSION,
    VALIDATION_IMAGES,
    ModelSpec,
    describe_history,
    describe_leakage,
    fitted_on,
)
from ctonnx.errors import ModelError


def values(spec: ModelSpec = SMALL, **changes: Any) -> dict[str, Any]:
    """Returns the document of a spec, with changes."""
    read: dict[str, Any] = json.loads(spec.to_json())
    return {**read, **changes}


def error_of(text: str) -> str:
    """Returns the error for a text."""
    with pytest.raises(ModelError) as caught:
        ModelSpec.from_json(text)
    return str(caught.value)


@pytest.mark.parametrize("spec", [SMALL, FULL], ids=["small", "full"])
def test_spec_is_read_back_as_it_was(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_the_full_example_leaves_no_field_at_its_default() -> None:
    assert [item.name for item in fields(ModelSpec) if getattr(FULL, item.name) == getattr(SMALL, item.name)] == [
        "created"
    ]


def test_text_of_a_spec_is_pinned() -> None:
    assert SMALL.to_json() == (
        '{"acquisition": null, "brightness": null, "checkpoint_sha256": "'
        + "ab" * 32
        + '", "classes": ["normal", "tumor"], "content_checksum": null, '
        '"created": "2026-01-02T03:04:05+00:00", "data": {}, "dicom_window": {"center": -600.0, "width": 1500.0}, '
        '"gate": null, "history": [], "metrics": {}, "name": "lungs", "networks": 1, "novelty": null, '
        '"operating_point": null, "parity": {}, "patient_rule": null, "precision": "fp32", "prediction_sets": null, '
        '"preprocessing": {"color": "grey", "crop": "none", "intensity": "as-is", "resize": "stretch", "size": 64}, '
        '"quantization": null, '
        '"schema_version": 2, "shortcuts": null, "synthetic": false, "temperature": 1.0, "usage": null, "versions": {}}'
    )


def test_text_of_an_operating_point_is_pinned() -> None:
    assert json.dumps(values(FULL)["operating_point"], ensure_ascii=False) == (
        '{"gap": [0.1, 0.6], "leaked_images": 10, "leaked_images_used": true, "negative_images": 13, '
        '"negative_patients": 5, "positive": ["large cell", "普通"], "positive_images": 59, "positive_patients": 21, '
        '"sensitivity": 0.97, "sensitivity_bound": 0.92, '
        '"sensitivity_interval": [0.91, 0.99], "specificity": 0.8, "specificity_interval": [0.7, 0.87], '
        '"target_sensitivity": 0.95, "threshold": 0.31}'
    )


def test_same_spec_gives_the_same_text_whatever_the_order_of_its_mappings() -> None:
    turned = replace(FULL, versions=dict(list(FULL.versions.items())[::-1]), data=dict(list(FULL.data.items())[::-1]))
    assert turned.to_json() == FULL.to_json()
    assert ModelSpec.from_json(FULL.to_json()).to_json() == FULL.to_json()


def test_class_names_are_not_escaped() -> None:
    assert '"classes": ["zdravé", "large cell", "普通"]' in FULL.to_json()


def test_optional_fields_have_their_defaults() -> None:
    text = values()
    for name in ("temperature", "dicom_window", "quantization", "operating_point"):
        del text[name]
    assert ModelSpec.from_json(json.dumps(text)) == SMALL


def test_field_of_a_later_release_is_ignored() -> None:
    assert ModelSpec.from_json(json.dumps(values(FULL, explanation={"method": "?"}))) == FULL


@pytest.mark.parametrize("part", ["preprocessing", "dicom_window", "operating_point"])
def test_field_of_a_later_release_is_ignored_in_a_part_too(part: str) -> None:
    text = values(FULL)
    text[part]["later"] = 1
    assert ModelSpec.from_json(json.dumps(text)) == FULL


# --- the operating point ---------------------------------------------------------------------------------------------


def test_operating_point_of_an_earlier_file_has_neither_target_nor_intervals_nor_numbers_of_images() -> None:
    text = values(FULL)
    later = ("sensitivity_bound", "positive_images", "negative_images", "leaked_images", "leaked_images_used", "gap")
    patients = ("positive_patients", "negative_patients")
    for name in ("target_sensitivity", "sensitivity_interval", "specificity_interval", *later, *patients):
        del text["operating_point"][name]
    assert ModelSpec.from_json(json.dumps(text)).operating_point == OperatingPoint(
        positive=("large cell", "普通"), threshold=0.31, sensitivity=0.97, specificity=0.8
    )


@pytest.mark.parametrize("name", ["positive", "threshold", "sensitivity", "specificity"])
def test_operating_point_without_a_required_field_is_rejected(name: str) -> None:
    text = values(FULL)
    del text["operating_point"][name]
    assert name in error_of(json.dumps(text))


# --- invalid specs ---------------------------------------------------------------------------------------------------


def test_older_schema_is_read() -> None:
    assert ModelSpec.from_json(json.dumps(values(schema_version=SCHEMA_VERSION - 1))) == SMALL


def test_newer_schema_is_rejected() -> None:
    assert error_of(json.dumps(values(schema_version=3))) == (
        "expected a spec of schema 2 or older, found schema 3: the model was made by a newer ctonnx; upgrade this one"
    )


def point(**changes: Any) -> dict[str, Any]:
    """Returns the document of an operating point for the small spec, with changes."""
    return {"positive": ["tumor"], "threshold": 0.5, "sensitivity": 1.0, "specificity": 1.0, **changes}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in values().items() if key != name}


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (SMALL.to_json()[:100], "Unterminated string starting at: line 1 column 64 (char 63)"),
        ("{}", "expected a whole number at 'schema_version', found nothing"),
        (json.dumps(without("classes")), "expected a list at 'classes', found nothing"),
        (json.dumps(without("preprocessing")), "expected an object at 'preprocessing', found nothing"),
        (json.dumps(values(classes=["one"])), "expected two or more different classes, found ['one']"),
        (json.dumps(values(classes=[])), "expected two or more different classes, found []"),
        (json.dumps(values(classes=["a", "a"])), "expected two or more different classes, found ['a', 'a']"),
        (json.dumps(values(temperature=0)), "expected a temperature above 0, found 0.0"),
        (json.dumps(values(temperature=-1.5)), "expected a temperature above 0, found -1.5"),
        (json.dumps(values(temperature=math.nan)), "expected a finite number at 'temperature', found nan"),
        (
            json.dumps(values(preprocessing={"size": 16})),
            "size must be a whole number from 32 to 4096 pixels, found 16",
        ),
        (
            json.dumps(values(preprocessing={"color": "blue"})),
            "expected one of 'grey', 'rgb' at 'preprocessing.color', found 'blue'",
        ),
        (
            json.dumps(values(operating_point=point(positive=["cancer"]))),
            "expected positive classes, each once and not all, of ['normal', 'tumor'], found ['cancer']",
        ),
        (
            json.dumps(values(operating_point=point(positive=["tumor", "cancer"]))),
            "expected positive classes, each once and not all, of ['normal', 'tumor'], found ['tumor', 'cancer']",
        ),
        (
            json.dumps(values(operating_point=point(positive=["tumor", "tumor", "tumor"]))),
            "expected positive classes, each once and not all, of ['normal', 'tumor'], found "
            "['tumor', 'tumor', 'tumor']",
        ),
        (
            json.dumps(values(operating_point=point(positive=["tumor", "normal"]))),
            "expected positive classes, each once and not all, of ['normal', 'tumor'], found ['tumor', 'normal']",
        ),
        (
            json.dumps(values(operating_point=point(positive=[]))),
            "expected positive classes, each once and not all, of ['normal', 'tumor'], found []",
        ),
        (
            json.dumps(values(operating_point=point(threshold=math.nan))),
            "expected a finite number at 'operating_point.threshold', found nan",
        ),
        (
            json.dumps(values(operating_point=point(threshold=math.inf))),
            "expected a finite number at 'operating_point.threshold', found inf",
        ),
    ],
)
def test_text_that_is_not_a_spec_is_rejected_with_the_reason(text: str, detail: str) -> None:
    assert error_of(text) == f"the model's spec cannot be read ({detail}); export the model again"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        (
            {"classes": ["a" * 10**6] * 2},
            f"expected two or more different classes, found ['{'a' * 39}..., '{'a' * 39}...]",
        ),
        (
            {"classes": ["a"] * 10**5},
            "expected two or more different classes, found ['a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', ...]",
        ),
        (
            {"classes": ["a" * 10**6, "b"], "operating_point": point(positive=["c" * 10**6])},
            f"expected positive classes, each once and not all, of ['{'a' * 39}..., 'b'], found ['{'c' * 39}...]",
        ),
    ],
)
def test_long_names_and_long_lists_are_cut_in_the_message(changes: dict[str, Any], detail: str) -> None:
    assert error_of(json.dumps(values(**changes))) == (
        f"the model's spec cannot be read ({detail}); export the model again"
    )


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "5",
        '"spec"',
        "[]",
        "[" * 100_000,
        json.dumps(without("name")),
        json.dumps(values(schema_version="1")),
        json.dumps(values(schema_version=None)),
        json.dumps(values(classes=None)),
        json.dumps(values(classes="normal")),
        json.dumps(values(classes=[["a"], ["b"]])),
        json.dumps(values(temperature="1")),
        json.dumps(values(preprocessing=None)),
        json.dumps(values(preprocessing=[64])),
        json.dumps(values(dicom_window=None)),
        json.dumps(values(operating_point={"positive": ["tumor"]})),
        json.dumps(values(operating_point={"threshold": 0.5})),
        json.dumps(values(operating_point=[0.5])),
        json.dumps(values(operating_point=point(positive="tumor"))),
        json.dumps(values(operating_point=point(threshold="0.5"))),
        json.dumps(values(operating_point=point(sensitivity_interval=0.9))),
    ],
    ids=lambda text: text[-40:],
)
def test_text_of_another_shape_is_rejected(text: str) -> None:
    assert re.fullmatch(
        r"the model's spec cannot be read \(.+\); export the model again", error_of(text), flags=re.DOTALL
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("one",)}, "expected two or more different classes, found ['one']"),
        ({"classes": ("a", "b", "a")}, "expected two or more different classes, found ['a', 'b', 'a']"),
        ({"temperature": 0.0}, "expected a temperature above 0, found 0.0"),
        ({"temperature": math.nan}, "expected a temperature above 0, found nan"),
        (
            {"operating_point": POINT},
            "expected positive classes, each once and not all, of ['normal', 'tumor'], found ['large cell', '普通']",
        ),
    ],
)
def test_spec_with_a_bad_value_is_not_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(SMALL, **changes)


# --- specs of unknown sources ----------------------------------------------------------------------------------------


def test_damaged_spec_is_rejected_or_usable_everywhere() -> None:
    whole = replace(
        FULL,
        data={
            "name": "scans",
            "images": {"train": {"zdravé": 3}, "valid": {"zdravé": 2}, "test": {}},
            "leaks": {
                **dict.fromkeys(("groups", "files", "groups_across_splits", "files_across_splits"), 1),
                "groups_with_several_labels": 0,
                "leaked": {"valid": 1},
                "dropped": {"valid": 0},
            },
        },
    )
    rejected = 0
    for what, document in damaged(json.loads(whole.to_json())):
        try:
            spec = ModelSpec.from_json(json.dumps(document))
        except ModelError as error:
            rejected += str(error).startswith(
                ("the model's spec cannot be read (", "expected a spec of schema 2 or older")
            )
            continue
        try:
            describe_leakage(spec.data)
            describe_history(spec)
            _ = spec.operating_point and spec.operating_point.metrics_text
            answers = np.full((1, len(spec.classes)), 1 / len(spec.classes), np.float32)
            _ = spec.operating_point and spec.operating_point.calls(answers, spec.classes)
            json.dumps([spec.metrics, spec.data, list(spec.classes)], allow_nan=False, ensure_ascii=False).encode()
            assert spec.precision in ("fp32", "fp16", "int8")
            assert ModelSpec.from_json(spec.to_json()) == spec
        except Exception as error:
            raise AssertionError(f"{what} was taken, and ends in a traceback") from error
    assert rejected > 500


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"classes": 3}, "expected a list at 'classes', found 3"),
        ({"classes": None}, "expected a list at 'classes', found null"),
        ({"precision": ["int8"]}, "expected one of 'fp32', 'fp16', 'int8' at 'precision', found a list"),
        ({"precision": "int4"}, "expected one of 'fp32', 'fp16', 'int8' at 'precision', found 'int4'"),
        ({"checkpoint_sha256": None}, "expected a text at 'checkpoint_sha256', found null"),
        ({"temperature": "1"}, "expected a number at 'temperature', found '1'"),
        ({"dicom_window": {"width": 0}}, "expected a DICOM window with a width above 0, found {'center': -600.0, "),
        ({"classes": ["a", ""]}, "expected two or more different classes, found ['a', '']"),
        ({"classes": ["a", "\ud800"]}, "'utf-8' codec can't encode character '\\ud800' in position "),
        ({"metrics": {"test": {"accuracy": "high"}}}, "expected a number at 'metrics.test.accuracy', found 'high'"),
        ({"operating_point": {"sensitivity": "1"}}, "expected a list at 'operating_point.positive', found nothing"),
    ],
)
def test_value_of_another_type_is_reported_in_one_sentence(changes: dict[str, Any], detail: str) -> None:
    assert error_of(json.dumps(values(**changes))).startswith(f"the model's spec cannot be read ({detail}")


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"sensitivity": "high"}, "expected a number at 'operating_point.sensitivity', found 'high'"),
        ({"sensitivity": None}, "expected a number at 'operating_point.sensitivity', found null"),
        ({"sensitivity": math.nan}, "expected a finite number at 'operating_point.sensitivity', found nan"),
        ({"specificity": -0.5}, "expected a specificity from 0 to 1, found -0.5"),
        ({"threshold": 37}, "expected a threshold from 0 to 1, found 37.0"),
        ({"target_sensitivity": 95}, "expected a target_sensitivity from 0 to 1, found 95.0"),
        ({"sensitivity_interval": "0.9-1"}, "expected a list at 'operating_point.sensitivity_interval', found '0.9-1'"),
        ({"sensitivity_interval": [0.9]}, "expected a list of 2 at 'operating_point.sensitivity_interval', found one"),
        ({"specificity_interval": [1, 0.5]}, "expected a specificity_interval from low to high, 0 to 1, found [1.0,"),
    ],
)
def test_operating_point_out_of_range_is_reported_in_one_sentence(changes: dict[str, Any], detail: str) -> None:
    text = json.dumps(values(operating_point=point(**changes)))
    assert error_of(text).startswith(f"the model's spec cannot be read ({detail}")


def test_threshold_slightly_above_one_from_rounding_is_accepted() -> None:
    spec = ModelSpec.from_json(json.dumps(values(operating_point=point(threshold=1.0000001))))
    assert spec.operating_point is not None


def test_history_has_the_scans_and_what_changed() -> None:
    data = {"name": "site", "images": {"a": 20, "b": 30}}
    earlier = {"temperature": 1.2, "operating_point": {"threshold": 0.5}, "novelty": {"threshold": 80.0}}
    first = {"date": "2026-11-29T10:11:12+00:00", "data": data, "earlier": {"temperature": 1.0}}
    second = {"date": "2026-11-30T10:11:12+00:00", "data": {**data, "name": "b"}, "earlier": earlier}
    made = replace(FULL, history=(first, second))
    assert describe_history(made) == [
        "recalibrated on 50 scans of 'site', 2026-11-29: temperature from 1 to 1.2",
        "recalibrated on 50 scans of 'b', 2026-11-30: temperature from 1.2 to 1.37, operating point from 0.5 to 0.31, "
        "novelty threshold from 80 to 95.5, other prediction sets",
    ]
    assert describe_history(ModelSpec.from_json(made.to_json())) == describe_history(made)
    assert fitted_on(made.history) == "scans of 'b'"


def test_history_of_an_unknown_source_is_described_as_far_as_it_is_known() -> None:
    odd = ({"date": 3, "data": {"images": [1]}, "earlier": {"temperature": True, "novelty": 2}},)
    assert describe_history(replace(FULL, history=odd)) == ["recalibrated on scans of a site: other prediction sets"]
    assert fitted_on(odd) == "scans of a site"
    assert (describe_history(SMALL), fitted_on(SMALL.history)) == ([], VALIDATION_IMAGES)
