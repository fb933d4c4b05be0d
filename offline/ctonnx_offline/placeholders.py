"""Empty wheels that represent the packages of the machine, so that pip leaves them and their requirements out."""

import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from ctonnx.errors import CtonnxError
from ctonnx_offline.standards import requirements, utils, version

__all__ = ["installed_versions", "write_placeholder"]


def installed_versions(given: Sequence[str], required: Iterable[str]) -> dict[str, str]:
    """Returns the versions of the packages that the machine has.

    Args:
        given: Packages as `torch==2.11.0`, or as `torch` for the oldest version that `required` allows.
        required: Requirements.

    Returns:
        Version of each package, by its normalized name.

    Raises:
        CtonnxError: If an entry is not a package, or has no version.

    >>> installed_versions(["torch"], ["torch>=2.11"])
    {'torch': '2.11'}
    """
    versions = {}
    for text in given:
        found = re.fullmatch(r"([\w.-]+)(?:==([\w.+!]+))?", text.strip())
        name = utils.canonicalize_name(found[1]) if found else ""
        chosen = (found and found[2]) or _oldest(name, required)
        if not chosen:
            raise CtonnxError(f"expected packages of the machine as NAME==VERSION, found '{text.strip()}'")
        try:
            versions[name] = str(version.Version(chosen))
        except version.InvalidVersion:
            raise CtonnxError(f"expected packages of the machine as NAME==VERSION, found '{text.strip()}'") from None
    return versions


def _oldest(name: str, required: Iterable[str]) -> str:
    for line in required:
        requirement = requirements.Requirement(line)
        bounds = [bound.version for bound in requirement.specifier if bound.operator in (">=", "==")]
        if bounds and utils.canonicalize_name(requirement.name) == name:
            return bounds[0]
    return ""


def write_placeholder(folder: Path, name: str, version_text: str) -> Path:
    """Writes the wheel of a package without files and requirements, and returns its path."""
    stem = f"{name.replace('-', '_')}-{version_text}"
    path = folder / f"{stem}-py3-none-any.whl"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version_text}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: ctonnx\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "".join(f"{stem}.dist-info/{part},,\n" for part in ("METADATA", "WHEEL", "RECORD")),
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for part, text in files.items():
            wheel.writestr(f"{stem}.dist-info/{part}", text)
    return path
