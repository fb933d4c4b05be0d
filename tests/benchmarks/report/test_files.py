"""The folder of the reports, which are of one benchmark at every moment."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.killing import states_at_each_rename

from ctonnx_bench.report.files import output_folder, try_folder, write_reports


def test_reports_are_in_the_models_run_or_in_the_working_folder(workspace: Path) -> None:
    expected = workspace.resolve() / "runs/tiny/bench"
    assert output_folder([]) == output_folder([Path("tiny")]) == expected
    assert output_folder([Path("runs/tiny/export/model.fp32.onnx")]) == expected
    Path("model.onnx").write_bytes(Path("runs/tiny/export/model.fp32.onnx").read_bytes())
    assert output_folder([Path("model.onnx")]) == output_folder([Path("none")]) == Path("bench")


def test_folder_is_tried_and_left_unchanged(tmp_path: Path) -> None:
    try_folder(tmp_path / "new" / "bench")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"file/bench'$"):
        try_folder(tmp_path / "file" / "bench")


def test_three_reports_are_written_and_nothing_else(tmp_path: Path, document: dict[str, Any]) -> None:
    messages = write_reports(document, tmp_path / "new" / "bench")
    files = [tmp_path / "new/bench" / name for name in ("bench.json", "bench.md", "bench.html")]
    assert messages == [f"written: {file}" for file in files]
    assert sorted(file.name for file in (tmp_path / "new/bench").iterdir()) == ["bench.html", "bench.json", "bench.md"]
    assert json.loads(files[0].read_text(encoding="utf-8"))["cases"][0]["rounds"][0]["samples_s"]
    assert files[1].read_text(encoding="utf-8").startswith("# Benchmark of lungs")


@pytest.mark.usefixtures("no_plots")
def test_sweep_does_not_replace_the_ordinary_report_and_replacing_is_reported(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    write_reports(document, tmp_path)
    document["settings"]["sweep"] = True
    write_reports(document, tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    assert write_reports(document, tmp_path)[0] == f"written: {tmp_path / 'sweep.json'}, replacing an earlier one"


@pytest.mark.usefixtures("no_plots")
def test_reports_of_two_benchmarks_are_never_mixed(tmp_path: Path, make_document: Any) -> None:
    folder = tmp_path / "bench"
    write_reports(make_document(), folder)
    with states_at_each_rename(folder, tmp_path / "states") as states:
        write_reports({**make_document(slower=2.0), "command": "ctonnx bench --batch-size 4"}, folder)
    assert len(states) >= 2 * 3
    for state in [*states, folder]:
        texts = {file.suffix: file.read_text(encoding="utf-8") for file in state.glob("bench.*")}
        is_new = {suffix: "--batch-size 4" in text for suffix, text in texts.items()}
        assert ".json" in texts
        assert len(set(is_new.values())) == 1, f"{state}: {is_new}"
    assert sorted(file.name for file in folder.iterdir()) == ["bench.html", "bench.json", "bench.md"]


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("written", [0, 1, 2])
def test_full_disk_leaves_the_earlier_reports_unchanged(
    written: int, tmp_path: Path, make_document: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reports(make_document(), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    calls: list[int] = []

    def full(number: int) -> None:
        calls.append(number)
        if len(calls) > written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_reports(make_document(slower=2.0), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
