"""Rows and first lines of parts that no model made."""

import json
from pathlib import Path
from typing import Any

import pytest

from ctonnx.prediction.output.parts.part_file import Head, open_part
from ctonnx.prediction.output.parts.split import Listing, Split
from ctonnx.system.text import Log

HEAD = Head(shard="1/2", by=None, model_sha256="m" * 64, provider="cpu", top_k=1, version="1.0")


def row(file: str, *, frame: int | None = None, error: str | None = None, **changes: Any) -> str:
    """Returns the row of an image; the name of a frame is `FILE#1` and so on."""
    document = {
        "file": file if frame is None else f"{file}#{frame + 1}",
        "probabilities": {} if error else {"normal": 1.0},
        "frame": frame,
        "error": error,
        "model_sha256": HEAD.model_sha256,
    }
    return json.dumps(document | changes, ensure_ascii=False)


def split_of(*files: str, listed: int | None = None) -> Split:
    return Split(list(files), Listing(len(files) if listed is None else listed, "digest"))


FILES = ("b", "a", "c", "d")
SPLIT = split_of(*FILES, listed=9)


def write_part(path: Path, head: Head, *rows: str, listed: int, files: int | None = None) -> Path:
    """Writes a complete part with these rows, and as many files."""
    split = split_of(*(f"{path}-{number}" for number in range(len(rows) if files is None else files)), listed=listed)
    with open_part(path, head, split, resume=False) as part:
        for one in rows:
            part.add(one)
    return path


class Killed(BaseException):
    """Ends a block as no error that is handled does."""


def stopped_after(
    path: Path, *rows: str, head: Head = HEAD, split: Split = SPLIT, log: Log = lambda line: None
) -> Path:
    """Writes a part whose run is stopped after these rows."""

    def run() -> None:
        with open_part(path, head, split, resume=True, log=log) as part:
            for one in rows:
                part.add(one)
            raise Killed

    with pytest.raises(Killed):
        run()
    return path
