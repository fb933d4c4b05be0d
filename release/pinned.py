"""Writes docker/IMAGE/requirements.txt, what a container installs besides ctonnx: `make pinned`.

The versions are those of constraints.txt. Each has the hashes of its files for every processor, and pip installs no
other file (`--require-hashes`, https://pip.pypa.io/en/stable/topics/secure-installs/).
"""

import subprocess
import sys
from pathlib import Path

from ctonnx.system.files import atomic_file

__all__ = ["EXTRAS", "PYTHON", "ROOT", "write"]

ROOT = Path(__file__).parents[1]
PYTHON = "3.13"
"""Python of the containers."""

EXTRAS = {"runtime": ("cpu", "sign"), "server": ("cpu", "serve", "grpc", "pacs", "dicom", "sign")}
"""Extras of each image that is built from the wheel; its folder is docker/IMAGE."""

_HEAD = "# Written by `make pinned`: the packages of this image for Python {python}, with the hashes of their files.\n"


def write(image: str, file: Path) -> None:
    """Writes the requirements of an image.

    Raises:
        subprocess.CalledProcessError: If they cannot be resolved.
    """
    command: list[str | Path] = [Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--universal"]
    command += ["--python-version", PYTHON, "--generate-hashes", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--constraint", ROOT / "constraints.txt"]
    for extra in EXTRAS[image]:
        command += ["--extra", extra]
    done = subprocess.run([*command, ROOT / "pyproject.toml"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    with atomic_file(file) as part:
        part.write_text(_HEAD.format(python=PYTHON) + done.stdout, encoding="utf-8")


if __name__ == "__main__":
    for image in EXTRAS:
        write(image, ROOT / "docker" / image / "requirements.txt")
