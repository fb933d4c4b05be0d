"""SIGTERM, SIGHUP and Ctrl-C end a command with its exit code, at any point of any library."""

import importlib
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ctonnx.cli.main import main


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_closed_terminal_ends_a_command_as_sigterm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(*arguments: object) -> None:
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(importlib.import_module("ctonnx.prediction.inputs"), "find_images", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        result = CliRunner().invoke(main, ["predict", "scan.png"])
        assert (result.stderr, result.exit_code) == ("\nctonnx: stopped\n", 129)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        assert CliRunner().invoke(main, ["predict", "scan.png"]).exit_code != 129
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


_SIGTERM_WHILE = """
import signal, sys, time, ctonnx.prediction.inputs
from ctonnx.cli.main import main

class Lost:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def lost(*arguments):
    Lost()  # Python passes on nothing from there
    time.sleep(20)

def altered(*arguments):
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise ImportError("initialization failed")

ctonnx.prediction.inputs.find_images = {name}
main(["predict", "scan.png"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["lost", "altered"])
def test_sigterm_that_a_library_swallows_still_ends_the_command(name: str) -> None:
    code = _SIGTERM_WHILE.replace("{name}", name)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.returncode) == ("\nctonnx: stopped\n", 143)


def test_ctrl_c_before_the_command_has_begun_is_no_traceback() -> None:
    code = """
import sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from ctonnx.__main__ import run
run()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("", "\nctonnx: stopped\n", 130)
