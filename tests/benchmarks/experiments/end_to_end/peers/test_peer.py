"""The peers' rows are read as they were written, and every peer is a program."""

import io
from importlib.util import find_spec
from pathlib import Path

import pytest

from ctonnx_bench.experiments.end_to_end.peers.peer import PEERS, files_below, read_rows, write_rows


def test_rows_are_read_by_file_name_as_they_were_written() -> None:
    out = io.StringIO()
    write_rows([("scans/a.png", "normal", 0.75), ("b.png", "lung, left", 0.5)], out)
    assert out.getvalue().splitlines()[0] == "file,label,probability"
    assert read_rows(out.getvalue()) == {"a.png": ("normal", 0.75), "b.png": ("lung, left", 0.5)}


def test_files_are_the_png_files_of_a_folder_or_the_named_one(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "notes.txt"):
        (tmp_path / name).touch()
    assert files_below(tmp_path) == [tmp_path / "a.png", tmp_path / "b.png"]
    assert files_below(tmp_path / "b.png") == [tmp_path / "b.png"]


@pytest.mark.parametrize("name", ["ctonnx", *PEERS])
def test_peer_is_a_package_that_runs_as_a_module(name: str) -> None:
    assert find_spec(f"ctonnx_bench.experiments.end_to_end.peers.{name}.__main__")
