"""The Parquet schema of predictions: one row for each image, the same columns for every model.

The columns are the keys of `--format jsonl`, without heatmaps and with `path`, the name without the number of a frame.
"""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from ctonnx.prediction.results import Record
from ctonnx.system.text import escape_undecodable

__all__ = ["MODEL", "SCHEMA", "packed", "path_of", "table_of", "unpacked"]

MODEL = "model_sha256"
"""Column with the checksum of the model file."""

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("frame", pa.int32()),
        pa.field("label", pa.string()),
        pa.field("probability", pa.float64()),
        pa.field("decision", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("suspicious", pa.bool_()),
        pa.field("score", pa.float64()),
        pa.field("set", pa.list_(pa.string())),
        pa.field("probabilities", pa.map_(pa.string(), pa.float64())),
        pa.field("novelty", pa.float64()),
        pa.field("novelty_percentile", pa.float64()),
        pa.field("unlike_training", pa.bool_()),
        pa.field("caution", pa.string()),
        pa.field("error", pa.string()),
        pa.field(MODEL, pa.string(), nullable=False),
        pa.field("threshold", pa.float64()),
        pa.field("time", pa.timestamp("ms", tz="UTC"), nullable=False),
    ]
)
"""Columns and types of a row, whatever the model: a change is a new major version."""


def path_of(record: Record) -> str:
    """Returns the name of the file of a record: its source without the number of the frame.

    >>> from ctonnx.prediction.results import Failure
    >>> path_of(Failure("a#1.dcm#3", "damaged", frame=2)), path_of(Failure("a#1.dcm", "damaged"))
    ('a#1.dcm', 'a#1.dcm')
    """
    return record.source if record.frame is None else record.source.removesuffix(f"#{record.frame + 1}")


def table_of(records: Iterable[Record], origin: Mapping[str, Any]) -> pa.Table:
    """Returns the rows of records.

    Args:
        records: Predictions and failures.
        origin: Values of `model_sha256`, `threshold` and `time` (a datetime), the same in all rows.
    """
    rows = []
    for record in records:
        row = record.as_dict() | {"path": escape_undecodable(path_of(record)), **origin}
        row["file"] = escape_undecodable(row["file"])
        row["probabilities"] = list(row["probabilities"].items())
        if row["error"] is not None:
            row["error"] = escape_undecodable(row["error"])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def packed(table: pa.Table) -> bytes:
    """Returns a table as bytes in Arrow's stream format, which Ray carries as one value and never splits."""
    stream = io.BytesIO()
    with ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def unpacked(content: bytes | pa.Buffer) -> pa.Table:
    """Returns the table of `packed`."""
    with ipc.open_stream(content) as reader:
        return reader.read_all()
