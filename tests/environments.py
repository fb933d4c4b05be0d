"""Temporary virtual environments for the checks of the installed wheel."""

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CONSTRAINTS", "REPOSITORY", "CheckError", "Environment", "Workshop", "run"]

REPOSITORY = Path(__file__).parent.parent
CONSTRAINTS = REPOSITORY / "constraints.txt"
_UV = Path(sys.executable).with_name("uv")
_REMOVED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV")


class CheckError(Exception):
    """An installed wheel does not do what the documentation promises."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment, and the folder that its commands run in.

    Attributes:
        folder: Folder of the virtual environment.
        work: Folder in which commands run.
        variables: Environment variables of the processes.
    """

    folder: Path
    work: Path
    variables: Mapping[str, str]

    @property
    def programs(self) -> Path:
        """Folder of its programs."""
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Starts `ctonnx` with the given arguments."""
        command = [str(self.programs / "ctonnx"), *words]
        return subprocess.Popen(
            command, cwd=self.work, env=self.variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def ctonnx(self, *words: str, exit_code: int = 0) -> "subprocess.CompletedProcess[str]":
        """Runs `ctonnx` to its end.

        Raises:
            CheckError: The exit code is another.
        """
        return run([self.programs / "ctonnx", *words], self.work, self.variables, exit_code)

    def fails(self, *words: str, message: str) -> None:
        """Checks that `ctonnx` ends with exit code 2 and prints only one error message.

        Raises:
            CheckError: The exit code or the output is another.
        """
        done = self.ctonnx(*words, exit_code=2)
        if (done.stdout, done.stderr) != ("", f"Error: {message}\n"):
            raise CheckError(f"expected of '{shlex.join(words)}': {message}\nfound: {done.stdout}{done.stderr}")


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A folder of environments, and the wheel to install in them.

    Attributes:
        folder: Folder of the environments.
        wheel: Wheel to install.
    """

    folder: Path
    wheel: Path

    @classmethod
    def open(cls, folder: Path, wheel: Path | None = None) -> "Workshop":
        """Uses a wheel, or builds that of this checkout, in an empty folder."""
        if wheel is not None:
            return cls(folder=folder, wheel=wheel.resolve(strict=True))
        run([_UV, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", REPOSITORY], folder, _variables())
        return cls(folder=folder, wheel=next((folder / "dist").glob("*.whl")))

    def make(self, name: str, extras: str, *others: str, is_thin: bool = False) -> Environment:
        """Creates an environment with the wheel.

        Args:
            name: Name of the environment.
            extras: Extras of ctonnx, separated by commas.
            *others: Further requirements.
            is_thin: Whether its processes have a thin network in ResNet50's place; see `tests/thin`.
        """
        folder = self.folder / "environments" / name
        run([_UV, "venv", "--quiet", "--python", sys.executable, folder], self.folder, _variables())
        variables = _variables() | {"PYTHONPYCACHEPREFIX": str(self.folder / "bytecode")}
        if is_thin:
            variables["PYTHONPATH"] = str(REPOSITORY / "tests" / "thin")
        environment = Environment(folder=folder, work=self.folder / "work" / name, variables=variables)
        environment.work.mkdir(parents=True)
        self.install(environment, f"{self.wheel}[{extras}]" if extras else str(self.wheel), *others)
        self._keep_bytecode(folder)
        return environment

    def _keep_bytecode(self, environment: Path) -> None:
        """Shares bytecode between environments, except for onnxruntime; compiling PyTorch takes 20 s.

        constraints.txt has one version of each package, and uv links one copy of it; but several builds provide the
        module `onnxruntime`. Below the prefix, Python repeats the full path of a source in the environment. What this
        process's own environment has compiled is there from the start; Python takes it for a source of the same time
        and size, and compiles others.
        """
        (packages,) = environment.glob("[Ll]ib/**/site-packages")
        place = self.folder / "bytecode" / packages.relative_to(packages.anchor)
        place.mkdir(parents=True)
        for package in packages.iterdir():
            if package.is_dir() and package.name != "onnxruntime":
                shared = self.folder / "compiled" / package.name
                try:
                    shared.mkdir(parents=True)
                except FileExistsError:
                    pass  # another environment has it, or is at it
                else:
                    _share_own_bytecode(package.name, shared)
                (place / package.name).symlink_to(shared, target_is_directory=True)

    def install(self, environment: Environment, *requirements: str) -> None:
        """Installs requirements within constraints.txt, as links into uv's cache if possible."""
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


def _share_own_bytecode(package: str, folder: Path) -> None:
    """Links the bytecode of a package of this process's environment into a folder that is laid out as its sources."""
    own = Path(sysconfig.get_path("platlib")) / package
    for file in own.rglob(f"__pycache__/*.{sys.implementation.cache_tag}.pyc"):
        place = folder / file.parent.parent.relative_to(own)
        place.mkdir(parents=True, exist_ok=True)
        (place / file.name).symlink_to(file)  # a later version replaces the link, not the file


def _variables() -> dict[str, str]:
    """Returns the environment variables of a user's shell, with one OpenMP thread for small networks."""
    kept = {name: value for name, value in os.environ.items() if name not in _REMOVED}
    return {**kept, "OMP_NUM_THREADS": "1"}


def run(
    command: Sequence[str | Path], folder: Path, variables: Mapping[str, str], exit_code: int = 0
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end.

    Args:
        command: Program and arguments.
        folder: Folder to run in.
        variables: Environment variables of the process.
        exit_code: Expected exit code.

    Raises:
        CheckError: The exit code is another.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=variables, check=False, text=True, capture_output=True)
    if done.returncode != exit_code:
        raise CheckError(
            f"expected exit code {exit_code} of '{shlex.join(words)}', found {done.returncode}\n"
            f"{done.stdout}{done.stderr}"
        )
    return done
