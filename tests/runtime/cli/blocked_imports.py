"""The command in a process in which some modules cannot be imported."""

import subprocess
import sys
from pathlib import Path

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in {without!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
sys.argv = ["ctonnx", *{words!r}]
from ctonnx.cli.main import main
main()
"""


def ctonnx(*words: str, without: tuple[str, ...] = (), cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs the command in its own process, in which some modules cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER.format(without=without, words=words)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
    )
