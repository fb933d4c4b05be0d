"""Checks collected wheels: each can be installed on the target, and finds all its requirements there."""

import email
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import CtonnxError
from ctonnx_offline.standards import requirements, specifiers, utils
from ctonnx_offline.target import Target

__all__ = ["WheelFacts", "check_wheels", "read_wheel"]


@dataclass(frozen=True, kw_only=True)
class WheelFacts:
    """Name and metadata of a wheel.

    Attributes:
        name: Normalized name of the distribution.
        version: Version.
        tags: Tags of the systems on which it runs.
        requires: Requirements, with their markers.
        python: Versions of Python, as `>=3.10`; empty for all.
    """

    name: str
    version: str
    tags: frozenset[str]
    requires: tuple[str, ...]
    python: str


def read_wheel(path: Path) -> WheelFacts:
    """Reads a wheel's name and metadata.

    Raises:
        CtonnxError: If the file is not a wheel.
    """
    try:
        name, version, _, tags = utils.parse_wheel_filename(path.name)
        with zipfile.ZipFile(path) as wheel:
            [member] = [entry for entry in wheel.namelist() if entry.count("/") == 1 and entry.endswith("/METADATA")]
            found = email.message_from_bytes(wheel.read(member))
    except (utils.InvalidWheelFilename, ValueError, zipfile.BadZipFile) as error:
        raise CtonnxError(f"expected a wheel, found '{path.name}': {error}") from error
    return WheelFacts(
        name=str(name),
        version=str(version),
        tags=frozenset(map(str, tags)),
        requires=tuple(found.get_all("Requires-Dist", [])),
        python=found.get("Requires-Python", ""),
    )


def check_wheels(
    wheels: Sequence[WheelFacts], roots: Sequence[str], installed: Mapping[str, str], target: Target
) -> None:
    """Checks that the target can install each wheel, and that no requirement is missing.

    Args:
        wheels: Collected wheels.
        roots: Requirements that will be installed.
        installed: Versions of the packages that the machine has.
        target: Machine that installs the wheels.

    Raises:
        CtonnxError: If a wheel is for another system or Python, or a requirement is not among the wheels.
    """
    place = f"Python {target.python_text} on {target.system_text}"
    for wheel in wheels:
        allowed = specifiers.SpecifierSet(wheel.python).contains(target.markers["python_full_version"], True)
        if not allowed or not wheel.tags & target.tags:
            raise CtonnxError(f"expected wheels for {place}, found one of {wheel.name} {wheel.version} for another")
    known = {wheel.name: wheel for wheel in wheels}
    waiting = [(line, "", "the requested set") for line in roots]
    seen = set()
    while waiting:
        line, extra, source = waiting.pop()
        wanted = requirements.Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({**target.markers, "extra": extra}):
            continue
        name = str(utils.canonicalize_name(wanted.name))
        version = known[name].version if name in known else installed.get(name)
        if version is None or not wanted.specifier.contains(version, True):
            raise CtonnxError(
                f"expected a wheel of '{line}' for {place}, required by {source}, found {version or 'none'}; pip "
                "resolved it for another system: upgrade pip, or collect on a machine of the same kind"
            )
        for chosen in ("", *wanted.extras):
            if name in known and (name, chosen) not in seen:
                seen.add((name, chosen))
                waiting += [(needed, chosen, name) for needed in known[name].requires]
