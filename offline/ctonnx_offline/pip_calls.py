"""Calls of pip: the wheel of ctonnx, the resolution of requirements for the target, the downloads.

pip chooses wheels for another platform, but reads environment markers such as `sys_platform == "win32"` for the Python
that it runs in (https://pip.pypa.io/en/stable/cli/pip_download/). Here it runs with the markers of the target;
`checking` does not rely on that. Which index pip asks is left to its own configuration.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.system.files import sha256_of
from ctonnx_offline.standards import utils
from ctonnx_offline.target import Target

__all__ = ["Resolved", "build_wheel", "check_pip", "download", "resolve"]

_OLDEST_PIP = (23, 0)  # the first with a stable `--report`
_FULL_DISK = 50 << 20  # bytes; pip does not report why a write failed in a form to rely on
_WITH_MARKERS = """
import json, runpy, sys
from pip._vendor.packaging import markers
target, here = json.loads(sys.argv[1]), markers.default_environment
markers.default_environment = lambda: {**here(), **target}
sys.argv = ["pip", *sys.argv[2:]]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A distribution that pip chose.

    Attributes:
        name: Normalized name.
        version: Version.
        file: File name of its wheel.
        sha256: SHA-256 of the wheel; None if the index does not publish it.
        is_local: True for a wheel that was passed to pip as a path.
    """

    name: str
    version: str
    file: str
    sha256: str | None
    is_local: bool


def check_pip() -> None:
    """Checks that the pip of this Python is recent.

    Raises:
        CtonnxError: If it is older.
    """
    found = metadata.version("pip")
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST_PIP:
        raise CtonnxError(
            f"expected pip {_OLDEST_PIP[0]}.{_OLDEST_PIP[1]} or newer in '{sys.executable}', found {found}; take the "
            "Python of an environment: python3 -m venv --upgrade-deps collecting"
        )


def build_wheel(checkout: Path, folder: Path, work: Path) -> Path:
    """Builds the wheel of ctonnx from a checkout into a folder, and returns its path.

    Raises:
        CtonnxError: If pip fails.
    """
    _pip(["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(checkout)], work, "to build ctonnx")
    [wheel] = folder.glob("ctonnx-*.whl")
    return wheel


def resolve(requirements: Sequence[str], constraints: Path | None, target: Target, work: Path) -> list[Resolved]:
    """Returns the distributions that pip would install on the target.

    Args:
        requirements: Requirements and paths of wheels.
        constraints: File of constraints.
        target: Machine that the distributions are for.
        work: Folder for temporary files.

    Raises:
        CtonnxError: If pip finds no solution.
    """
    report = work / "report.json"
    limits = ["--constraint", str(constraints)] if constraints else []
    command = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]
    command += ["--target", str(work / "nothing"), *target.pip_options, *limits, *requirements]
    place = f"for Python {target.python_text} on {target.system_text} ({target.platforms[0]})"
    _pip(command, work, f"to find a wheel of every requirement {place}", target)
    document = json.loads(report.read_text(encoding="utf-8"))
    return sorted(map(_resolved, document["install"]), key=lambda found: found.name)


def _resolved(entry: dict[str, Any]) -> Resolved:
    source = entry["download_info"]
    return Resolved(
        name=utils.canonicalize_name(entry["metadata"]["name"]),
        version=entry["metadata"]["version"],
        file=source["url"].rpartition("/")[2],
        sha256=source.get("archive_info", {}).get("hashes", {}).get("sha256"),
        is_local=bool(entry["is_direct"]),
    )


def download(chosen: Sequence[Resolved], target: Target, folder: Path, work: Path) -> None:
    """Downloads wheels into a folder; their progress is shown.

    Raises:
        CtonnxError: If pip fails, or a wheel has another SHA-256 than at the time of the resolution.
    """
    pins = work / "pins.txt"
    pins.write_text("".join(f"{found.name}=={found.version}\n" for found in chosen), encoding="utf-8")
    command = ["download", "--no-deps", "--dest", str(folder), *target.pip_options, "--requirement", str(pins)]
    _pip(command, work, "to download the wheels", target)
    for found in chosen:
        matching = [file for file in folder.glob("*.whl") if _is_of(file, found)]
        if len(matching) != 1:
            raise CtonnxError(f"expected one wheel of {found.name} {found.version}, found {len(matching)}")
        if found.sha256 and sha256_of(matching[0]) != found.sha256:
            raise CtonnxError(f"expected '{matching[0].name}' with SHA-256 {found.sha256}, found another; run it again")


def _is_of(file: Path, found: Resolved) -> bool:
    name, version, _, _ = utils.parse_wheel_filename(file.name)
    return str(name) == found.name and str(version) == found.version


def _pip(arguments: Sequence[str], work: Path, purpose: str, target: Target | None = None) -> None:
    """Runs pip with its temporary files in `work`, so that they are on one disk and removed with it."""
    python = [sys.executable, "-m", "pip"]
    if target:
        python = [sys.executable, "-c", _WITH_MARKERS, json.dumps(dict(target.markers))]
    temporary = work / "pip"
    temporary.mkdir(exist_ok=True)
    variables = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    command = [*python, *arguments[:1], "--disable-pip-version-check", "--no-input", *arguments[1:]]
    if subprocess.run(command, check=False, env=variables).returncode:
        free = shutil.disk_usage(work).free
        reason = f"; its disk has only {free / 1e6:.0f} MB free" if free < _FULL_DISK else ""
        raise CtonnxError(f"expected pip {purpose}, found that it failed (see above){reason}")
