"""The module for mercure, run with folders as mercure makes them."""

import io
import json
import os
import re
import runpy
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.docker.model_with_point import with_point

from ctonnx.cli.main import main

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra pacs) is not installed")

from tests.runtime.server.pacs.builders import write_series  # noqa: E402  # after the extras were looked for

_MODULE = Path(__file__).parents[2] / "docker/mercure/module.py"
_FOLDERS = ("MERCURE_IN_DIR", "MERCURE_OUT_DIR")


class Task:
    """Folders of a task, with two series of three images and the files that mercure puts beside them."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.given, self.out, self._model = folder / "in", folder / "out", model
        self.out.mkdir(parents=True)
        for _ in range(2):
            for file in write_series(self.given, 3, patient="MARKED"):
                series, _, number = file.stem.rpartition(".")
                image = self.given / f"{series}#{series}.{number}.dcm"
                file.rename(image)
                image.with_suffix(".tags").write_text(json.dumps({"PatientName": "MARKED", "Modality": "CT"}))
        self.settings({})

    def settings(self, settings: Any) -> None:
        process = {"module_name": "ctonnx", "settings": settings}
        self.write({"id": "1", "info": {"patient_name": "MARKED"}, "process": process})

    def write(self, task: Any) -> None:
        (self.given / "task.json").write_text(json.dumps(task))

    def run(self, **changes: str | None) -> "subprocess.CompletedProcess[str]":
        """Runs the module in a process, and the command that it starts in another."""
        environment = {**os.environ, **self._environment(changes)}
        done = subprocess.run(
            [sys.executable, str(_MODULE)], check=False, capture_output=True, text=True, env=environment
        )
        return self._checked(done)

    def run_here(self) -> "subprocess.CompletedProcess[str]":
        """Runs the module and its command in this process, in the tests of what they write."""
        errors = io.StringIO()
        namespace = runpy.run_path(str(_MODULE))
        with pytest.MonkeyPatch.context() as patch, redirect_stderr(errors):
            for name, value in self._environment({}).items():
                patch.setenv(name, value)
            patch.setattr(subprocess, "run", _ctonnx)
            code = namespace["main"]()
        return self._checked(subprocess.CompletedProcess([], code, "", errors.getvalue()))

    def _environment(self, changes: dict[str, str | None]) -> dict[str, str]:
        folders = dict(zip(_FOLDERS, map(str, (self.given, self.out)), strict=True))
        values = {**folders, "CTONNX_MODEL": str(self._model), **changes}
        return {name: value for name, value in values.items() if value is not None}

    def _checked(self, done: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str]":
        assert "MARKED" not in done.stdout + done.stderr
        assert done.stdout == ""
        return done

    @property
    def result(self) -> Any:
        text = (self.out / "result.json").read_text()
        assert "MARKED" not in text
        assert not any(file.name.split("#")[0] in text for file in self.given.glob("*.dcm"))
        return json.loads(text)

    @property
    def modalities(self) -> list[str]:
        return sorted(pydicom.dcmread(file).Modality for file in self.out.glob("*.dcm"))


def _ctonnx(words: list[str], *, input: bytes, stdout: int, check: bool) -> Any:  # noqa: A002
    """Stands for `subprocess.run` of a command of ctonnx."""
    assert words[:3] == [sys.executable, "-m", "ctonnx"]
    assert (stdout, check) == (subprocess.PIPE, False)
    done = CliRunner().invoke(main, words[3:], input=input)
    sys.stderr.write(done.stderr)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout_bytes)


@pytest.fixture
def task(tmp_path: Path, model: Path) -> Task:
    return Task(tmp_path / "task", with_point(model, tmp_path))


def test_each_series_has_results_and_a_decision(task: Task) -> None:
    done = task.run()
    assert done.returncode == 0, done.stderr
    assert task.modalities == ["KO", "KO", "OT", "OT", "SR", "SR"] or task.modalities == ["OT", "OT", "SR", "SR"]
    result = task.result
    assert [one["series"] for one in result["series"]] == [1, 2]
    assert {one["decision"] for one in result["series"]} <= {"positive", "refer"}
    assert [one["used"] for one in result["series"]] == [3, 3]
    assert result["__mercure_notification"]["requested"] is True
    assert re.fullmatch(r"ctonnx, for research only: 2 (positive|refer)", result["__mercure_notification"]["text"])
    assert re.fullmatch(r"[0-9a-f]{64}", result["model_sha256"])


def test_results_have_the_names_that_mercure_expects(task: Task) -> None:
    assert task.run_here().returncode == 0
    for file in task.out.glob("*.dcm"):
        made = pydicom.dcmread(file)
        assert file.name == f"{made.SeriesInstanceUID}#{made.SOPInstanceUID}.dcm"


def test_settings_are_those_of_the_task(task: Task) -> None:
    task.settings({"results": "sr", "threads": 1})
    assert task.run_here().returncode == 0
    assert "OT" not in task.modalities
    assert "SR" in task.modalities


def test_settings_of_a_rule_with_several_modules(task: Task) -> None:
    task.write({"process": [{"settings": {"results": "sr"}}]})
    assert task.run_here().returncode == 0
    assert "OT" not in task.modalities


def test_an_image_that_cannot_be_read_is_counted(task: Task) -> None:
    first = sorted(task.given.glob("*.dcm"))[0]
    image = pydicom.dcmread(first)
    image.PixelData = image.PixelData[:100]
    image.save_as(first)
    done = task.run_here()
    assert done.returncode == 0, done.stderr
    assert sorted(one["failed"] for one in task.result["series"]) == [0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"result": "sr"}, "expected the settings results, codes, series_filter, threads, found 'result'"),
        ({"results": "pdf"}, "Error: Invalid value for '--results': expected sr, sc, sr,sc or none, found 'pdf'."),
        (["sr"], "expected process.settings with names and values in task.json, found another content"),
    ],
)
def test_wrong_settings(task: Task, settings: Any, message: str) -> None:
    task.settings(settings)
    done = task.run_here()
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, message)
    assert list(task.out.iterdir()) == []


def test_folders_that_mercure_did_not_make(task: Task) -> None:
    done = task.run(MERCURE_OUT_DIR=None)
    assert (done.returncode, done.stderr) == (2, "expected the environment variable MERCURE_OUT_DIR, found none\n")
    (task.given / "task.json").write_text("MARKED")
    assert task.run().stderr == "expected task.json with process.settings, found another content\n"
    (task.given / "task.json").unlink()
    assert task.run().stderr == "expected task.json in MERCURE_IN_DIR, found none\n"
    for file in task.given.glob("*.dcm"):
        file.unlink()
    assert task.run().stderr == "expected .dcm files in MERCURE_IN_DIR, found none\n"


def test_a_series_without_results_is_an_error(task: Task) -> None:
    for file in task.given.glob("*.dcm"):
        image = pydicom.dcmread(file)
        image.Manufacturer = "ctonnx"  # a result has no result of its own
        image.save_as(file)
    assert task.run_here().returncode == 1
    assert list(task.out.glob("*.dcm")) == []
