"""Checks for which devices the wheels of the installation exist: `make devices`, a part of `make extras-all`.

Each set of extras is resolved for each platform and Python as pip would there, from wheels alone. The result must be
the one that docs/guide/devices.md states: a set that no longer resolves fails, and so does one that newly does.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.environments import Workshop

__all__ = ["PLATFORMS", "PYTHONS", "SETS", "Case", "Platform", "cases", "fault"]

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SETS = ("cpu", "cpu,dicom", "cpu,serve,dicom,tiff", "cpu,pacs")
_UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A platform, and what is known not to resolve there.

    Attributes:
        name: Name in the documentation.
        target: Name of uv (`uv pip compile --python-platform`).
        missing_sets: Sets of extras without wheels, for any Python.
        missing_pythons: Pythons without wheels, for any set.
    """

    name: str
    target: str
    missing_sets: tuple[str, ...] = ()
    missing_pythons: tuple[str, ...] = ()


PLATFORMS = (
    Platform(name="Linux, x86-64", target="x86_64-manylinux_2_28"),
    Platform(name="Linux, 64-bit ARM", target="aarch64-manylinux_2_28"),
    Platform(name="Alpine, x86-64", target="x86_64-unknown-linux-musl", missing_sets=SETS),
    Platform(name="Alpine, 64-bit ARM", target="aarch64-unknown-linux-musl", missing_sets=SETS),
    Platform(name="macOS 14, Apple silicon", target="aarch64-apple-darwin"),
    Platform(name="macOS 14, Intel", target="x86_64-apple-darwin", missing_pythons=("3.14",)),
    Platform(name="Windows, x86-64", target="x86_64-pc-windows-msvc"),
    Platform(name="Windows, ARM", target="aarch64-pc-windows-msvc", missing_sets=("cpu,pacs",)),
)
_WITHOUT_PYJPEGLS = "3.14"  # highdicom requires pyjpegls, which has no wheels for it


@dataclass(frozen=True, kw_only=True)
class Case:
    """A set of extras on a platform and Python.

    Attributes:
        platform: Platform.
        python: Minor version of Python.
        extras: Extras, separated by commas.
    """

    platform: Platform
    python: str
    extras: str

    @property
    def resolves(self) -> bool:
        """Whether wheels exist, as docs/guide/devices.md states."""
        return not (
            self.extras in self.platform.missing_sets
            or self.python in self.platform.missing_pythons
            or ("pacs" in self.extras.split(",") and self.python == _WITHOUT_PYJPEGLS)
        )

    def command(self) -> list[str]:
        """Returns uv's command that resolves the case; the requirement is its standard input."""
        options = ["--python-platform", self.platform.target, "--python-version", self.python]
        return [str(_UV), "pip", "compile", "--quiet", "--only-binary", ":all:", *options, "-"]


def cases() -> Iterator[Case]:
    """Returns every set on every platform and Python."""
    for platform in PLATFORMS:
        for python in PYTHONS:
            for extras in SETS:
                yield Case(platform=platform, python=python, extras=extras)


def _resolve(command: list[str], requirement: str) -> str | None:
    """Returns uv's error; None if the requirement was resolved."""
    variables = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    done = subprocess.run(command, input=requirement, env=variables, check=False, text=True, capture_output=True)
    return None if done.returncode == 0 else done.stderr.strip()


def fault(case: Case, wheel: Path, resolve: Callable[[list[str], str], str | None] = _resolve) -> str | None:
    """Returns a message if a case does not resolve as documented, else None.

    Args:
        case: Case to check.
        wheel: Wheel of ctonnx.
        resolve: Function from uv's command and a requirement to uv's error, None without one.
    """
    error = resolve(case.command(), f"ctonnx[{case.extras}] @ {wheel.as_uri()}")
    if (error is None) == case.resolves:
        return None
    name = f"devices: [{case.extras}] on {case.platform.name}, Python {case.python}"
    if error is None:
        return f"{name}: expected no wheels, and it resolves now; correct PLATFORMS and docs/guide/devices.md"
    if "no wheels" not in error and "no usable wheels" not in error:
        return f"{name}: uv failed for another reason than missing wheels:\n{error}"
    return f"{name}: expected wheels, found none:\n{error}"


def main() -> None:
    """Resolves every case, two at a time."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ctonnx-devices-") as folder, ThreadPoolExecutor(2) as pool:
        wheel = Workshop.open(Path(folder)).wheel
        found = list(cases())
        faults = [text for text in pool.map(partial(fault, wheel=wheel), found) if text]
    if faults:
        sys.exit("\n\n".join(faults))
    with_wheels = sum(case.resolves for case in found)
    print(
        f"devices: {with_wheels} of {len(found)} sets have wheels, as documented, {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
