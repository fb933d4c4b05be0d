"""The run of a command, given by name, by folder or not at all."""

from pathlib import Path

import pytest
from tests.runtime.made_runs import make_run

from ctonnx.artifacts.run import RUNS, Run, find_run, newest_run
from ctonnx.errors import ModelError


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Changes to an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(run: Path | None) -> str:
    with pytest.raises(ModelError) as caught:
        find_run(run)
    return str(caught.value)


def test_files_of_a_run_have_their_names() -> None:
    run = Run(Path("runs/lungs"))
    assert [path.as_posix() for path in (run.weights_file, run.record_file, run.splits_file, run.export_folder)] == [
        "runs/lungs/model.safetensors",
        "runs/lungs/run.json",
        "runs/lungs/splits.json",
        "runs/lungs/export",
    ]
    assert run.model_file("int8").as_posix() == "runs/lungs/export/model.int8.onnx"
    assert [path.as_posix() for path in (run.metrics_file, run.evaluation_folder, run.plan_file, run.last_file)] == [
        "runs/lungs/metrics.csv",
        "runs/lungs/evaluation",
        "runs/lungs/plan.json",
        "runs/lungs/last.ckpt",
    ]


def test_run_is_named_by_its_folder_however_it_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("lungs")
    monkeypatch.chdir(RUNS / "lungs")
    assert Run(Path()).name == "lungs"


@pytest.mark.parametrize("missing", ["model.safetensors", "run.json"])
def test_run_without_one_of_its_files_has_no_checkpoint(missing: str) -> None:
    run = make_run("lungs")
    assert run.has_checkpoint
    (run.folder / missing).unlink()
    assert not run.has_checkpoint


def test_run_whose_training_was_stopped_but_left_a_whole_checkpoint_has_one() -> None:
    run = make_run("stopped")
    run.plan_file.touch()
    run.last_file.touch()
    assert run.has_checkpoint
    assert newest_run() == run


def test_run_that_was_killed_in_its_training_has_no_checkpoint() -> None:
    run = make_run("killed", "2027-01-01T00:00:00+00:00")
    for file in (run.weights_file, run.record_file):
        file.unlink()
    for file in (run.plan_file, run.last_file, run.metrics_file):
        file.touch()
    whole = make_run("whole")
    assert not run.has_checkpoint
    assert newest_run() == whole
    assert error_of(Path("killed")).startswith("expected a run's folder (with model.safetensors and run.json) at")


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null", '"created"'])
def test_time_of_a_run_with_a_damaged_record_is_unknown(text: str) -> None:
    run = make_run("lungs")
    run.record_file.write_text(text, encoding="utf-8")
    assert run.created == ""


def test_newest_run_is_the_one_trained_last_whatever_its_name_and_its_files_times() -> None:
    make_run("b", "2026-03-01T10:00:00+00:00")
    newest = make_run("a", "2026-03-01T10:00:00.5+00:00")
    make_run("c", "2025-12-31T23:59:59+00:00")
    assert newest_run() == newest
    assert find_run(None) == newest


def test_last_by_name_is_the_newest_of_runs_trained_at_the_same_time() -> None:
    make_run("b")
    make_run("a")
    assert newest_run() == Run(RUNS / "b")


def test_run_with_a_damaged_record_is_older_than_any_other() -> None:
    make_run("whole")
    make_run("z").record_file.write_text("{", encoding="utf-8")
    assert newest_run() == Run(RUNS / "whole")


def test_hidden_and_unfinished_folders_and_files_are_ignored() -> None:
    make_run("old", "2020-01-01T00:00:00+00:00")
    make_run(".new.part")
    make_run("unfinished").weights_file.unlink()
    (RUNS / "notes.txt").write_text("a file", encoding="utf-8")
    assert newest_run() == Run(RUNS / "old")


@pytest.mark.parametrize("empty", [True, False])
def test_no_run_is_an_error_with_the_command_that_trains_one(empty: bool, working_folder: Path) -> None:
    if empty:
        RUNS.mkdir()
    assert error_of(None) == (
        f"expected a trained run below 'runs/' (in '{working_folder}'), found none; "
        "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: "
        "--model FILE)"
    )


@pytest.mark.parametrize("path", ["lungs", "runs/lungs", "runs/lungs/", "./runs/lungs"])
def test_run_is_found_by_its_name_and_by_its_folder(path: str) -> None:
    make_run("newer", "2027-01-01T00:00:00+00:00")
    make_run("lungs")
    assert find_run(Path(path)).folder.resolve() == Path("runs/lungs").resolve()


def test_folder_is_taken_before_a_run_of_the_same_name() -> None:
    make_run("lungs")
    make_run("other").folder.rename("lungs")
    assert find_run(Path("lungs")) == Run(Path("lungs"))


def test_run_below_another_root_is_found() -> None:
    make_run("lungs").folder.parent.rename("elsewhere")
    assert find_run(Path("lungs"), Path("elsewhere")) == Run(Path("elsewhere/lungs"))
    assert find_run(None, Path("elsewhere")) == Run(Path("elsewhere/lungs"))


@pytest.mark.parametrize("unfinished", [True, False])
def test_missing_run_is_an_error_with_the_searched_folders(unfinished: bool) -> None:
    if unfinished:
        make_run("lungs").weights_file.unlink()
    assert error_of(Path("lungs")) == (
        "expected a run's folder (with model.safetensors and run.json) at 'lungs' or 'runs/lungs', found none; "
        "train one with: ctonnx train DATA, or name a run or an .onnx file that you have (predict and serve: "
        "--model FILE)"
    )
