"""Builds a release into dist/: `make release`.

- the wheel and the source archive, of the last commit, with its time as that of every file (`SOURCE_DATE_EPOCH`, see
  https://reproducible-builds.org/docs/source-date-epoch/). Each is built twice, in folders of other names, with another
  time zone and other permissions of new files; the two must be the same, byte for byte.
- `ctonnx-VERSION.cdx.json`: a bill of materials (CycloneDX 1.6) of the wheel installed with `[cpu]`, made and validated
  by `cyclonedx-py`
- the files that the containers are built from: their Dockerfiles, and their requirements with hashes
- SHA256SUMS
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ctonnx.errors import CheckFailed, CtonnxError
from ctonnx.system.files import sha256_of
from ctonnx.system.text import counted
from release.pinned import EXTRAS, ROOT

__all__ = ["build", "commit_of", "main", "packages_of", "reproducible_packages", "version_of", "write_bill"]

_PROGRAMS = Path(sys.executable).parent
_REMOVED = ("PYTHONPATH", "VIRTUAL_ENV", "SOURCE_DATE_EPOCH")
_FOLDER_OF_A_WHEEL = re.compile(r"file://[^\s\"]*/(?=[^/\s\"]+\.whl)")  # only the place of the build


def version_of(source: Path) -> str:
    """Returns the version in a source folder's pyproject.toml."""
    return str(tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def packages_of(source: Path, output: Path, time: int, *, zone: str = "UTC", mask: int = 0o022) -> list[Path]:
    """Builds the wheel and the source archive of a source folder, with this environment's hatchling.

    Args:
        source: Folder with pyproject.toml and without files that the archive should not have.
        output: New folder for both.
        time: Time of all files, in seconds since 1970.
        zone: Time zone of the build.
        mask: Permissions that new files do not get.

    Returns:
        Paths of the wheel and the source archive.

    Raises:
        CtonnxError: If the build fails.
    """
    command: list[str | Path] = [
        _PROGRAMS / "uv",
        "build",
        "--quiet",
        "--no-build-isolation",
        "--python",
        sys.executable,
    ]
    _run([*command, "--out-dir", output, source], source, {"SOURCE_DATE_EPOCH": str(time), "TZ": zone}, mask)
    return sorted(file for file in output.iterdir() if file.name.endswith((".whl", ".tar.gz")))


def reproducible_packages(repository: Path, place: Path) -> list[Path]:
    """Builds the wheel and the source archive of a repository's last commit twice, and compares them.

    Args:
        repository: Folder of the repository.
        place: Empty folder; `source` in it has the commit's files afterwards.

    Returns:
        Paths of the wheel and the source archive.

    Raises:
        CheckFailed: If two builds differ, or the repository has changes that are not committed.
        CtonnxError: If a program fails.
    """
    if changed := _run(["git", "status", "--porcelain"], repository).splitlines():
        raise CheckFailed(
            "expected a repository without changes, as a release is built from a commit, found "
            f"{counted(len(changed), 'change')}: {changed[0].strip()}; commit or remove them"
        )
    time = commit_of(repository)[1]
    builds = []
    for folder, zone, mask in ((place, "UTC", 0o022), (place / "another-name", "Asia/Kathmandu", 0o077)):
        _export(repository, folder / "source")
        builds.append(packages_of(folder / "source", folder / "dist", time, zone=zone, mask=mask))
    for first, second in zip(*builds, strict=True):
        if first.name != second.name or first.read_bytes() != second.read_bytes():
            raise CheckFailed(f"expected two builds of {first.name} to be the same, byte for byte; they differ")
    return builds[0]


def commit_of(repository: Path) -> tuple[str, int]:
    """Returns the name of a repository's last commit, and its time in seconds since 1970."""
    name, time = _run(["git", "log", "-1", "--format=%H %ct"], repository).split()
    return name, int(time)


def write_bill(python: Path, output: Path, time: int) -> int:
    """Writes the bill of materials of an environment, and returns the number of its packages.

    Args:
        python: Interpreter of the environment.
        output: File to write.
        time: Time of the document, in seconds since 1970.

    Raises:
        CtonnxError: If it cannot be made, or is not valid.
    """
    command: list[str | Path] = [_PROGRAMS / "cyclonedx-py", "environment", "--output-reproducible", "--validate"]
    command += ["--spec-version", "1.6"]
    command += ["--pyproject", ROOT / "pyproject.toml", "--output-file", output, python]
    _run(command, output.parent, {"SOURCE_DATE_EPOCH": str(time)})
    text = output.read_text(encoding="utf-8")
    output.write_text(_FOLDER_OF_A_WHEEL.sub("", text), encoding="utf-8")
    return len(json.loads(text)["components"])


def build(output: Path, *, repository: Path = ROOT) -> list[Path]:
    """Builds the release of a repository's last commit.

    Args:
        output: New folder.
        repository: Folder of the repository.

    Returns:
        Paths of the files, without SHA256SUMS.

    Raises:
        CheckFailed: If two builds differ, or the repository has changes that are not committed.
        CtonnxError: If a program fails.
    """
    commit, time = commit_of(repository)
    with tempfile.TemporaryDirectory(prefix="ctonnx-release-") as name:
        place = Path(name)
        packages = reproducible_packages(repository, place)
        output.mkdir(parents=True)
        for file in packages:
            shutil.copy(file, output)
        click.echo(f"built twice, the same: {', '.join(file.name for file in packages)}; commit {commit}")
        version = version_of(place / "source")
        bill = output / f"ctonnx-{version}.cdx.json"
        count = write_bill(_installed(next(output.glob("*.whl")), place, version), bill, time)
        click.echo(f"built: {bill.name}, the wheel with [cpu], {counted(count, 'package')}")
        for container in EXTRAS:
            shutil.copytree(place / "source/docker" / container, output / container)
            click.echo(f"built: {container}/; docker build --file {container}/Dockerfile --tag ctonnx-{container} .")
    files = sorted(file for file in output.rglob("*") if file.is_file())
    lines = [f"{sha256_of(file)}  {file.relative_to(output).as_posix()}\n" for file in files]
    (output / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    return files


def _export(source: Path, folder: Path) -> None:
    """Writes the files of the last commit into a new folder."""
    folder.mkdir(parents=True)
    archive = folder.with_suffix(".tar")
    _run(["git", "archive", "--output", archive, "HEAD"], source)
    shutil.unpack_archive(archive, folder, filter="data")


def _installed(wheel: Path, place: Path, version: str) -> Path:
    """Installs a wheel with `[cpu]` into a new environment, and returns its interpreter."""
    environment, uv = place / "environment", _PROGRAMS / "uv"
    _run([uv, "venv", "--quiet", "--python", sys.executable, environment], place)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    constraints = ROOT / "constraints.txt"
    _run([uv, "pip", "install", "--quiet", "--python", python, "--constraint", constraints, f"{wheel}[cpu]"], place)
    shown = _run([python, "-m", "ctonnx", "--version"], place).split()[-1]
    if shown != version:
        raise CheckFailed(f"expected the installed wheel to show version {version}, found {shown}")
    return python


def _run(command: Sequence[str | Path], folder: Path, variables: Mapping[str, str] = {}, mask: int = 0o022) -> str:
    """Runs a program to its end, and returns its output."""
    words = [str(word) for word in command]
    kept = {name: value for name, value in os.environ.items() if name not in _REMOVED}
    done = subprocess.run(
        words, cwd=folder, env=kept | dict(variables), check=False, capture_output=True, text=True, umask=mask
    )
    if done.returncode:
        raise CtonnxError(f"expected {' '.join(words)} to succeed, found exit code {done.returncode}: {done.stderr}")
    return done.stdout


@click.command()
@click.argument("output", type=click.Path(path_type=Path), default=ROOT / "dist")
def main(output: Path) -> None:
    """Build the release of the last commit into the new or empty folder OUTPUT."""
    if output.exists() and any(output.iterdir()):
        raise click.UsageError(f"expected a new or empty folder, found files in '{output}'; remove them first")
    if output.exists():
        output.rmdir()
    try:
        files = build(output)
    except CtonnxError as error:
        shutil.rmtree(output, ignore_errors=True)
        raise click.ClickException(str(error)) from error
    click.echo(f"release: {len(files)} files and SHA256SUMS in {output}")


if __name__ == "__main__":
    main()
