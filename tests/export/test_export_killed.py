"""An export that is killed at any rename leaves a complete folder of a single export."""

import json
import shutil
from pathlib import Path

import pytest
from tests.killing import states_at_each_rename

from ctonnx.artifacts.run import Run
from ctonnx_export.export import export_run

pytestmark = pytest.mark.usefixtures("small_network", "converted_once")


def test_at_every_rename_of_an_export_the_earlier_folder_or_the_later_one_is_whole(
    small_run: Run, tmp_path: Path
) -> None:
    """For a moment both exist under hidden names, and the folder's name is not used."""
    run = Run(tmp_path / "runs" / "small")
    shutil.copytree(small_run.folder, run.folder)
    export_run(run)
    (run.export_folder / "model.fp32.tuned.json").write_text("{}", encoding="utf-8")  # of the earlier one alone
    with states_at_each_rename(run.folder, tmp_path / "states") as states:
        export_run(run)
    assert len(states) >= 4
    kept = []
    for state in states:
        whole = [folder for folder in (state / "export", *state.glob(".export.*")) if _is_whole(folder)]
        assert whole
        assert not (state / "export").exists() or _is_whole(state / "export")
        kept.append((state / "export" / "model.fp32.tuned.json").exists())
    assert kept[0]
    assert not kept[-1]


def _is_whole(folder: Path) -> bool:
    """Returns whether a folder contains every file of its report, with the size listed there."""
    try:
        files = json.loads((folder / "report.json").read_text(encoding="utf-8"))["files"]
    except OSError:
        return False
    return (folder / "README.md").exists() and all(
        (folder / name).stat().st_size == facts["bytes"] for name, facts in files.items()
    )
