"""`ctonnx demo` runs the commands that a user would type, in order, and stops at the first that fails."""

import importlib
import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctonnx.cli.main import main

module = importlib.import_module("ctonnx.cli.commands.demo")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Records the commands of the steps instead of running them, and writes the phantoms' marker."""
    monkeypatch.chdir(tmp_path)
    noted: list[str] = []

    def note(command: list[str], cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        words = command[4:]
        noted.append(" ".join(words))
        if words[0] == "data":
            (cwd / words[2]).mkdir()
            (cwd / words[2] / "phantom.json").write_text(json.dumps({"per_class": int(words[4])}))
        return subprocess.CompletedProcess(command, 3 if "--epochs 13" in noted[-1] else 0)

    monkeypatch.setattr("ctonnx.cli.commands.demo.subprocess.run", note)
    return noted


STEPS = [
    "data phantom phantoms --per-class 80",
    "train phantoms --weights none --image-size 112 --full-size --batch-size 16 --epochs 24",
    "export",
    "inspect",
    "predict phantoms/test --top-k 2",
    "bench --peers pytorch --batch-size 1 --duration 3 --rounds 3",
]


def test_steps_are_the_commands_of_the_workflow(commands: list[str]) -> None:
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 0, result.output
    assert commands == STEPS
    assert [line for line in result.stdout.splitlines() if "$" in line] == [
        f"      in ctonnx-demo/$ ctonnx {step}" for step in STEPS
    ]
    assert "All files are in ctonnx-demo/" in result.stdout


def test_second_demo_uses_the_phantoms_again(commands: list[str]) -> None:
    CliRunner().invoke(main, ["demo", "here"])
    assert CliRunner().invoke(main, ["demo", "here"]).exit_code == 0
    assert commands == [*STEPS, *STEPS[1:]]


def test_step_that_fails_is_the_last(commands: list[str]) -> None:
    result = CliRunner().invoke(main, ["demo", "--epochs", "13"])
    assert result.exit_code == 3
    assert result.stderr == (
        "Error: 'ctonnx train phantoms --weights none --image-size 112 --full-size --batch-size 16 --epochs 13' ended "
        "with exit code 3; see its message above\n"
    )
    assert len(commands) == 2


def test_other_files_in_the_phantoms_place_are_left_alone(commands: list[str], tmp_path: Path) -> None:
    (tmp_path / "ctonnx-demo/phantoms").mkdir(parents=True)
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 2
    assert "expected phantoms, or nothing, in 'ctonnx-demo/phantoms', found other files" in result.stderr
    assert commands == []


def test_other_number_of_phantoms_is_rejected(commands: list[str]) -> None:
    CliRunner().invoke(main, ["demo", "--per-class", "5"])
    result = CliRunner().invoke(main, ["demo", "--per-class", "6"])
    assert result.exit_code == 2
    assert "expected 6 phantoms a class in 'ctonnx-demo/phantoms', found 5 from an earlier demo" in result.stderr


def test_without_the_extra_bench_the_other_steps_are_run(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx.cli.commands.demo.find_spec", lambda name: None if name == "psutil" else object())
    result = CliRunner().invoke(main, ["demo"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert commands == STEPS[:-1]
    assert "[5/5] Predict the test images" in result.stdout
    assert result.stdout.splitlines()[-4:-1] == [
        "Not measured: 'ctonnx bench' needs the extra 'bench'; pip install \"ctonnx[bench]\"",
        "",
        "All files are in ctonnx-demo/: phantoms/ the images, runs/ the checkpoint and its export.",
    ]


@pytest.mark.parametrize("missing", ["torch", "sklearn", "matplotlib", "onnxsim"])
def test_missing_library_is_reported_before_the_first_step(
    missing: str, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctonnx.cli.commands.demo.find_spec", lambda name: None if name == missing else object())
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: 'ctonnx demo' needs the package '{missing}', which is not installed; "
        'pip install "ctonnx[cpu,train,export]"\n'
    )
    assert commands == []
    assert not Path("ctonnx-demo").exists()


class Clock:
    """A clock that each command advances by a given time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("slow", "options", "left"),
    [
        (1.0, (), ["4 min", "4 min", "1 min", "35 s", "35 s", "30 s"]),
        (0.5, (), ["4 min", "4 min", "1 min", "35 s", "35 s", "30 s"]),
        (3.0, (), ["4 min", "10 min", "3 min", "2 min", "2 min", "2 min"]),
        (1.0, ("--epochs", "48"), ["6 min", "6 min", "1 min", "35 s", "35 s", "30 s"]),
        (1.0, ("--image-size", "224"), ["10 min", "10 min", "1 min", "35 s", "35 s", "30 s"]),
    ],
)
def test_each_step_shows_the_remaining_time(
    slow: float, options: tuple[str, ...], left: list[str], commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, run = Clock(), subprocess.run
    values = {"per_class": 80, "epochs": 24, "image_size": 112}
    for name, value in zip(options[::2], options[1::2], strict=True):
        values[name.removeprefix("--").replace("-", "_")] = int(value)

    def take_its_time(command: list[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        clock.now += slow * module._usual_seconds(" ".join(command[4:]), **values)
        return run(command, **settings)

    monkeypatch.setattr("ctonnx.cli.commands.demo.time", clock)
    monkeypatch.setattr("ctonnx.cli.commands.demo.subprocess.run", take_its_time)
    result = CliRunner().invoke(main, ["demo", *options])
    assert result.exit_code == 0, result.output
    shown = re.findall(r" \(about (.*) left\)\n", result.stdout)
    assert shown == left


class _Served:
    """A server that is ready, and ends with an exit code or with Ctrl-C."""

    def __init__(self, code: int | None) -> None:
        self.code, self.has_ended = code, False

    def __call__(self, command: list[str], cwd: Path, **options: Any) -> "_Served":
        self.command, self.cwd = command, cwd
        self.stderr = iter(["model: m\n", "serving: http://127.0.0.1:8000\n"])
        return self

    def __enter__(self) -> "_Served":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait(self) -> int:
        if self.code is None:
            raise KeyboardInterrupt
        return self.code

    def terminate(self) -> None:
        self.has_ended = True


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (2, 2), (None, 130)])
def test_page_is_opened_when_the_server_is_ready(
    commands: list[str], monkeypatch: pytest.MonkeyPatch, code: int | None, expected: int
) -> None:
    served, opened = _Served(code), list[str]()
    monkeypatch.setattr("ctonnx.cli.commands.demo.subprocess.Popen", served)
    monkeypatch.setattr("webbrowser.open", opened.append)
    result = CliRunner().invoke(main, ["demo", "--serve"])
    assert (result.exit_code, opened) == (expected, ["http://127.0.0.1:8000"])
    assert (served.command[-1], served.cwd) == ("serve", Path("ctonnx-demo"))
    assert served.has_ended == (code is None)
    assert commands == STEPS
    assert ("'ctonnx serve' ended with exit code 2" in result.stderr) == (code == 2)


def test_page_needs_its_extra_before_anything_runs(commands: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "find_spec", lambda name: None if name == "starlette" else importlib.util.find_spec(name)
    )
    result = CliRunner().invoke(main, ["demo", "--serve"])
    assert (result.exit_code, commands) == (2, [])
    assert result.stderr == 'Error: expected starlette for --serve, found none; pip install "ctonnx[serve]"\n'
