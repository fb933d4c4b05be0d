"""Environments that are made anew, used and thrown away: what the checks of the installed wheel share."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CONSTRAINTS", "REPOSITORY", "CheckError", "Environment", "Workshop", "run"]

REPOSITORY = Path(__file__).parent.parent
CONSTRAINTS = REPOSITORY / "constraints.txt"
_UV = Path(sys.executable).with_name("uv")
_LEFT_OUT = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV")


class CheckError(Exception):
    """Something that an installed wheel promises does not hold."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment, and the folder that its commands work in.

    Attributes:
        folder: The virtual environment.
        work: The folder in which commands run.
        variables: The processes' environment variables.
    """

    folder: Path
    work: Path
    variables: Mapping[str, str]

    @property
    def programs(self) -> Path:
        """The folder of its programs."""
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Starts `ctonnx` with the words given."""
        command = [str(self.programs / "ctonnx"), *words]
        return subprocess.Popen(
            command, cwd=self.work, env=self.variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def ctonnx(self, *words: str, exit_code: int = 0) -> "subprocess.CompletedProcess[str]":
        """Runs `ctonnx` to its end.

        Raises:
            CheckError: It ended with another exit code.
        """
        return run([self.programs / "ctonnx", *words], self.work, self.variables, exit_code)

    def refuses(self, *words: str, sentence: str) -> None:
        """Has `ctonnx` end with exit code 2 and one sentence, and nothing else.

        Raises:
            CheckError: It does not.
        """
        done = self.ctonnx(*words, exit_code=2)
        if (done.stdout, done.stderr) != ("", f"Error: {sentence}\n"):
            raise CheckError(f"expected of '{shlex.join(words)}': {sentence}\nfound: {done.stdout}{done.stderr}")


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """The place where environments are made, with the wheel that they get.

    Attributes:
        folder: The folder that everything is in.
        wheel: The wheel of this checkout.
    """

    folder: Path
    wheel: Path

    @classmethod
    def open(cls, folder: Path) -> "Workshop":
        """Builds the wheel.

        Args:
            folder: An empty folder.
        """
        run([_UV, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", REPOSITORY], folder, _variables())
        return cls(folder=folder, wheel=next((folder / "dist").glob("*.whl")))

    def make(self, name: str, extras: str, *others: str) -> Environment:
        """Makes a new environment with the wheel in it.

        Args:
            name: The environment's name.
            extras: The extras of ctonnx, joined by commas.
            *others: Further requirements.
        """
        folder = self.folder / "environments" / name
        run([_UV, "venv", "--quiet", "--python", sys.executable, folder], self.folder, _variables())
        prefix = {"PYTHONPYCACHEPREFIX": str(self.folder / "bytecode")}
        environment = Environment(folder=folder, work=self.folder / "work" / name, variables=_variables() | prefix)
        environment.work.mkdir(parents=True)
        self.install(environment, f"{self.wheel}[{extras}]" if extras else str(self.wheel), *others)
        self._keep_bytecode(folder)
        return environment

    def _keep_bytecode(self, environment: Path) -> None:
        """Has environments share what Python compiles, but onnxruntime's: PyTorch alone takes 20 s.

        constraints.txt has one version of each package, and uv links one copy of it; but several builds have the module
        `onnxruntime`. Below the prefix Python repeats the whole path of a source, which begins with the environment's.
        """
        (packages,) = environment.glob("[Ll]ib/**/site-packages")
        place = self.folder / "bytecode" / packages.relative_to(packages.anchor)
        place.mkdir(parents=True)
        for package in packages.iterdir():
            if package.is_dir() and package.name != "onnxruntime":
                shared = self.folder / "compiled" / package.name
                shared.mkdir(parents=True, exist_ok=True)
                (place / package.name).symlink_to(shared, target_is_directory=True)

    def install(self, environment: Environment, *requirements: str) -> None:
        """Installs requirements within constraints.txt; the files are links into uv's cache where that can be."""
        python = environment.programs / "python"
        command: list[str | Path] = [
            _UV,
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "--constraint",
            CONSTRAINTS,
            *requirements,
        ]
        run(command, self.folder, _variables())


def _variables() -> dict[str, str]:
    """Returns the environment variables of a user's shell, for small networks on few cores."""
    kept = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    return {**kept, "OMP_NUM_THREADS": "1"}


def run(
    command: Sequence[str | Path], folder: Path, variables: Mapping[str, str], exit_code: int = 0
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end.

    Args:
        command: The program and its words.
        folder: The folder to work in.
        variables: The process's environment variables.
        exit_code: The exit code that is right.

    Raises:
        CheckError: It ended with another one.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=variables, check=False, text=True, capture_output=True)
    if done.returncode != exit_code:
        raise CheckError(
            f"expected exit code {exit_code} of '{shlex.join(words)}', found {done.returncode}\n"
            f"{done.stdout}{done.stderr}"
        )
    return done
