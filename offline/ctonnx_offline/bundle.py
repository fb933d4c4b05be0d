"""The folder to carry to the other machine: parts, the script that joins them, hashes, requirements and README."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import CtonnxError
from ctonnx.system.files import sha256_of
from ctonnx.system.text import Log, counted
from ctonnx_offline import join
from ctonnx_offline.checking import read_wheel
from ctonnx_offline.parts import plan_parts, write_parts
from ctonnx_offline.target import Target

__all__ = ["Bundle", "check_folder", "write_bundle"]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Content and recipient of a bundle.

    Attributes:
        purpose: `install` for an environment with ctonnx, `gpu-kit` for `make gpu`.
        title: Content, as `ctonnx[cpu] 0.4.0`.
        extras: Extras of a distribution in requirements.txt, as `[cpu]`.
        installed: Packages that the machine has, as `torch 2.11`.
        target: Machine that installs the wheels.
    """

    purpose: str
    title: str
    extras: Mapping[str, str]
    installed: Sequence[str]
    target: Target


def check_folder(folder: Path) -> None:
    """Checks that a bundle can be written: nothing that someone put there is replaced.

    Raises:
        CtonnxError: If the path is a file, or a folder with files.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise CtonnxError(f"expected a new folder, found a file: '{folder}'")
    if folder.is_dir() and any(folder.iterdir()):
        raise CtonnxError(f"expected a new or an empty folder, found files in '{folder}'; name another, or remove it")


def write_bundle(bundle: Bundle, wheels: Path, folder: Path, limit: int, log: Log) -> None:
    """Writes all files of a bundle into an empty folder.

    Args:
        bundle: Content of the bundle.
        wheels: Folder of the wheels.
        folder: Folder to write to.
        limit: Largest number of bytes of a part.
        log: Receives a line for each part.

    Raises:
        CtonnxError: If the disk has too little room.
    """
    files = sorted(wheels.glob("*.whl"), key=lambda file: file.name.lower())
    sizes = {file.name: file.stat().st_size for file in files}
    free, total = shutil.disk_usage(folder).free, sum(sizes.values())
    if free < total:
        raise CtonnxError(f"expected {total / 1e6:.0f} MB free for the parts, found {free / 1e6:.0f} MB")
    hashes = {file.name: sha256_of(file) for file in files}
    (folder / "parts").mkdir()
    parts = plan_parts(sizes, limit)
    write_parts(parts, wheels, folder / "parts", log)
    pieces = sorted(
        ((piece, part.name) for part in parts for piece in part.pieces), key=lambda pair: (pair[0].wheel, pair[0].start)
    )
    made = [folder / "parts" / part.name for part in parts]
    manifest = {
        "purpose": bundle.purpose,
        "title": bundle.title,
        "target": {"python": bundle.target.python_text, "system": bundle.target.system_text},
        "parts": [{"name": file.name, "size": file.stat().st_size, "sha256": sha256_of(file)} for file in made],
        "wheels": [
            {
                "name": name,
                "size": size,
                "sha256": hashes[name],
                "pieces": [{"part": part, "entry": piece.entry} for piece, part in pieces if piece.wheel == name],
            }
            for name, size in sizes.items()
        ],
    }
    shutil.copyfile(Path(join.__file__), folder / "join.py")
    _write(folder / join.MANIFEST, json.dumps(manifest, indent=1) + "\n")
    _write(folder / "requirements.txt", _requirements(files, hashes, bundle))
    _write(folder / _README_FILE, _readme(bundle, [file.name for file in made], total))
    others = [folder / name for name in (_README_FILE, "join.py", join.MANIFEST, "requirements.txt")]
    lines = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in [*others, *made]]
    lines += [f"{digest}  wheels/{name}\n" for name, digest in hashes.items()]
    _write(folder / "SHA256SUMS", "".join(lines))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _requirements(files: Sequence[Path], hashes: dict[str, str], bundle: Bundle) -> str:
    lines = [f"# {bundle.title}, for Python {bundle.target.python_text} on {bundle.target.system_text}"]
    for file in files:
        facts = read_wheel(file)
        extras = bundle.extras.get(facts.name, "")
        lines.append(f"{facts.name}{extras}=={facts.version} --hash=sha256:{hashes[file.name]}")
    return "\n".join(lines) + "\n"


_README_FILE = "README.txt"
_README = """{title}
Wheels for Python {python} on {system}, for a machine without a network.
{installed}
{count}, {total:.0f} MB of wheels, in the folder parts. Copy this folder to the machine; the parts can be
copied one by one, into parts or next to join.py. Then, in this folder:

  python3 join.py

It needs Python 3.8 or newer (on Windows: py join.py). It lists parts that are missing or damaged, and can be run again
at any time. When all are there, it writes the folder wheels, checks the SHA-256 of each wheel, and shows the command
that comes next:

{step}

join.py compares with manifest.json. SHA256SUMS has the same hashes for sha256sum:

  sha256sum --check --ignore-missing SHA256SUMS
"""
_STEPS = {
    "install": (
        "  python3 -m venv ctonnx-env\n"
        "  ctonnx-env/bin/pip install --no-index --find-links wheels --require-hashes --requirement requirements.txt"
    ),
    "gpu-kit": "  make gpu WHEELS=.../wheels PYTHON=python3",
}


def _readme(bundle: Bundle, parts: Sequence[str], total: int) -> str:
    needed = ", ".join(bundle.installed)
    return _README.format(
        title=bundle.title,
        python=bundle.target.python_text,
        system=bundle.target.system_text,
        installed=f"The machine has these already, or newer ones: {needed}.\n" if needed else "",
        count=counted(len(parts), "part"),
        total=total / 1e6,
        step=_STEPS[bundle.purpose],
    )
