import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from ctonnx import Predictor
from ctonnx.prediction.results import Failure
from ctonnx_scale.rows import SCHEMA, packed, table_of, unpacked

TIME = datetime(2026, 12, 1, 8, tzinfo=UTC)
ORIGIN = {"model_sha256": "0" * 64, "threshold": 0.25, "time": TIME}


def test_row_has_what_the_json_line_of_the_same_image_has(model: Path, phantoms: Path) -> None:
    scans = sorted(map(str, (phantoms / "test").rglob("*.png")))[:3]
    with Predictor(model, threads=1) as predictor:
        records = list(predictor.predict_many(scans))
    table = table_of(records, ORIGIN)
    assert table.schema == SCHEMA
    expected = []
    for record in records:
        line = json.loads(json.dumps(record.as_dict()))
        line["probabilities"] = list(map(tuple, line["probabilities"].items()))
        expected.append({"path": record.source, **line, **ORIGIN})
    assert table.to_pylist() == expected


def test_failure_has_the_same_columns() -> None:
    (row,) = table_of([Failure("scan.dcm#2", "damaged", frame=1)], ORIGIN).to_pylist()
    filled = {name: value for name, value in row.items() if value is not None}
    assert filled == {
        "path": "scan.dcm",
        "file": "scan.dcm#2",
        "frame": 1,
        "probabilities": [],
        "error": "damaged",
        **ORIGIN,
    }


def test_bytes_of_a_name_that_are_no_text_are_escaped() -> None:
    (row,) = table_of([Failure("scan\udcff.png", "no file '\udcff'")], ORIGIN).to_pylist()
    assert (row["path"], row["file"], row["error"]) == ("scan\\udcff.png", "scan\\udcff.png", "no file '\\udcff'")


def test_packed_rows_are_one_value_and_come_back() -> None:
    table = table_of([Failure(f"{number}.png", "missing") for number in range(3)], ORIGIN)
    assert unpacked(packed(table)) == table
    assert unpacked(pa.scalar(packed(table)).as_buffer()) == table
