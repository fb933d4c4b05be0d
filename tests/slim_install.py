"""Checks the slim install: the wheel with only `[cpu]` is small and runs without torch.

Run it with `make slim`. It trains and exports a tiny model with the full environment, builds the wheel, installs it in
a new environment and uses the model there. `make extras` does the same with a model of its own.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.environments import CheckError, Environment, Workshop

from ctonnx.parity.rounding import shown

__all__ = ["check", "megabytes"]

LIMIT_MB = 150


def megabytes(folder: Path) -> float:
    """Returns the total size of the files below a folder in MB (10^6 bytes)."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def check(slim: Environment) -> str:
    """Uses the exported run and the phantoms in the environment's folder.

    Args:
        slim: New, unused environment.

    Returns:
        Sentence with the measurements.

    Raises:
        CheckError: The install is too large, or a command does not work as documented.
    """
    size = megabytes(slim.folder)  # before anything runs: imports write bytecode
    slim.ctonnx("--help")
    if not slim.ctonnx("verify").stdout.endswith("verified\n"):
        raise CheckError("slim install: verify does not verify")
    if "normal" not in slim.ctonnx("inspect").stdout:
        raise CheckError("slim install: inspect does not show the classes")
    rows = slim.ctonnx("predict", "phantoms/test", "--format", "csv").stdout.splitlines()
    images = len(list((slim.work / "phantoms" / "test").rglob("*.png")))
    if len(rows) != images + 1 or any(row.split(",")[1] == "" for row in rows):
        raise CheckError(f"slim install: expected {images} predictions, found {rows}")
    result = (
        f"{shown(size, LIMIT_MB, digits=1, form='f')} MB installed (at most {LIMIT_MB} MB), {images} images predicted"
    )
    if size > LIMIT_MB:
        raise CheckError(f"slim install: {result}")
    return result


def main() -> None:
    """Runs the check."""
    full = Path(sys.executable).with_name("ctonnx")
    with tempfile.TemporaryDirectory(prefix="ctonnx-slim-") as name:
        slim = Workshop.open(Path(name)).make("slim", "cpu")
        for words in (
            ("data", "phantom", "phantoms", "--per-class", "5", "--size", "96"),
            ("train", "phantoms", "--weights", "none", "--epochs", "1", "--image-size", "64"),
            ("export",),
        ):
            print("$ ctonnx", *words, flush=True)
            subprocess.run([full, *words], cwd=slim.work, check=True)
        print(f"slim install: {check(slim)}")


if __name__ == "__main__":
    try:
        main()
    except CheckError as error:
        sys.exit(str(error))
