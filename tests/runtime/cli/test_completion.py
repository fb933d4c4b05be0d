"""Shells complete ctonnx's words, by the script that `ctonnx completion` prints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.runtime.cli.blocked_imports import BLOCKER

from ctonnx.cli.main import _COMMANDS, main


def printed(*words: str, of_user: str = "") -> str:
    result = CliRunner().invoke(main, ["completion", *words], env={"SHELL": of_user})
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ctonnx ver", {"verify"}),
        ("ctonnx serve --api", {"--api-key-file"}),
        ("ctonnx completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes_commands_options_and_values(line: str, expected: set[str], tmp_path: Path) -> None:
    """The function of the script is called as bash calls it at a tab."""
    script = tmp_path / "completion"
    script.write_text(printed("bash"))
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    code = f". '{script}'; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _ctonnx_completion ctonnx; "
    code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], check=True, capture_output=True, text=True, env=variables)  # noqa: S607
    assert set(done.stdout.split()) == expected
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_of_each_shell_asks_ctonnx(shell: str) -> None:
    script = printed(shell)
    assert f"_CTONNX_COMPLETE={shell}_complete" in script
    assert printed(of_user=f"/usr/bin/{shell}") == script


@pytest.mark.parametrize(("shell", "found"), [("", "'nothing'"), ("/bin/tcsh", "'tcsh'")])
def test_other_shell_is_rejected(shell: str, found: str) -> None:
    result = CliRunner().invoke(main, ["completion"], env={"SHELL": shell})
    assert result.exit_code == 2
    assert f"expected bash, zsh or fish in the environment variable SHELL, found {found}" in result.stderr


def test_completion_of_a_command_whose_packages_are_missing_is_silent() -> None:
    """Nothing of click is shown at a tab, and commands are completed by name nevertheless."""
    code = BLOCKER.format(without=("ctonnx_train", "numpy"), words=())

    def completed(line: str) -> "subprocess.CompletedProcess[str]":
        variables = {"_CTONNX_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        command = [sys.executable, "-c", code.replace("main()", "main(prog_name='ctonnx')")]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | variables)

    names = [line.partition(",")[2] for line in completed("ctonnx ").stdout.splitlines()]
    assert names == list(_COMMANDS)
    done = completed("ctonnx train --")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--epochs" not in done.stdout
