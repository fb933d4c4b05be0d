"""The record of a run: what is written is read again, by this release and later ones; damaged records are rejected."""

import json
from dataclasses import replace

import pytest
from tests.train.runs.conftest import RECORD

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx_train.runs.record import RunRecord, read_record

POINT = OperatingPoint(
    positive=("adenocarcinoma",),
    threshold=0.25,
    sensitivity=0.96,
    specificity=0.5,
    target_sensitivity=0.95,
    sensitivity_interval=(0.9, 0.99),
    specificity_interval=None,
)
FULL = replace(RECORD, temperature=1.25, operating_point=POINT, weights_sha256="cd" * 32)


@pytest.mark.parametrize("record", [FULL, RECORD])
def test_a_record_is_read_as_it_was_written(record: RunRecord, run: Run) -> None:
    run.record_file.write_text(record.to_json(), encoding="utf-8")
    assert read_record(run) == record


def test_a_record_is_text_with_a_schema_version_first() -> None:
    text = FULL.to_json()
    assert text.startswith('{\n  "schema_version": 2,\n  "created": "2026-01-02T03:04:05.000006+00:00",\n')
    assert text.endswith("}\n")
    assert json.loads(text)["operating_point"]["sensitivity_interval"] == [0.9, 0.99]


def test_a_record_of_the_first_release_has_no_temperature_operating_point_or_digest() -> None:
    values = json.loads(FULL.to_json())
    del values["temperature"], values["operating_point"], values["weights_sha256"]
    record = RunRecord.from_json(json.dumps(values))
    assert (record.temperature, record.operating_point, record.weights_sha256) == (1.0, None, None)


def test_fields_of_a_later_release_are_ignored() -> None:
    values = json.loads(FULL.to_json())
    values |= {"later": 1, "operating_point": values["operating_point"] | {"later": [2]}}
    assert RunRecord.from_json(json.dumps(values)) == FULL


def test_a_record_of_a_later_schema_is_rejected(run: Run) -> None:
    run.record_file.write_text(json.dumps({"schema_version": 3}), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read_record(run)
    assert str(caught.value) == (
        f"expected a run's record in '{run.record_file}', found something else (the run was trained by a newer "
        "ctonnx); train again"
    )


@pytest.mark.parametrize("point", [{}, {"positive": ["a"]}, [1], 3, "x"])
def test_a_damaged_operating_point_is_rejected(point: object, run: Run) -> None:
    values = json.loads(FULL.to_json()) | {"operating_point": point}
    run.record_file.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ModelError, match=r"^expected a run's record in .*run\.json', found .+; train again$"):
        read_record(run)
