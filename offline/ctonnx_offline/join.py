"""Checks the parts of an offline installation and joins them into a folder of wheels: `python3 join.py`.

It needs Python 3.8 or newer and nothing else, and it can be run again at any time: it lists the parts that are missing
or damaged, or writes the folder of wheels, completely or not at all. Parts are found in the folder `parts` next to this
script, or next to the script itself. The wheels can be for another Python than the one that runs this script.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

__all__ = ["MANIFEST", "Failure", "join", "main", "next_step"]

_CHUNK = 1 << 20
MANIFEST = "manifest.json"


class Failure(Exception):
    """The wheels cannot be joined; the message is for a terminal."""


def main() -> None:
    """Joins the parts next to this script."""
    parser = argparse.ArgumentParser(description="Check the parts and join them into a folder of wheels.")
    parser.add_argument("--output", type=Path, help="Folder of the wheels; default: wheels, next to join.py.")
    output = parser.parse_args().output
    folder = Path(__file__).resolve().parent
    try:
        join(folder, folder / "wheels" if output is None else output.absolute())
    except Failure as failure:
        sys.exit(f"Error: {failure}")
    except OSError as error:
        sys.exit(f"Error: {error.filename or folder}: {error.strerror or error}")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was written\n")
        sys.exit(130)


def join(folder: Path, output: Path) -> None:
    """Checks the parts in a folder and writes the wheels, unless an earlier call did.

    Raises:
        Failure: If a part is missing or damaged, the disk is full, or the output has other files.
    """
    manifest = _read_manifest(folder)
    wheels = manifest["wheels"]
    total = sum(wheel["size"] for wheel in wheels)
    if _is_complete(wheels, output):
        _show(f"the {len(wheels)} wheels in {output} are complete")
    else:
        _check_output(wheels, output)
        found = _check_parts(manifest["parts"], folder)
        existing = next(place for place in (output, *output.parents) if place.exists())
        free = shutil.disk_usage(str(existing)).free
        if free < total:
            wanted = "expected {} free for the wheels in {}, found {}"
            raise Failure(wanted.format(_megabytes(total), output, _megabytes(free)))
        _write_wheels(wheels, found, output)
        _show(f"joined {len(wheels)} wheels, {_megabytes(total)}, each with its SHA-256: {output}")
    _show(next_step(manifest, folder, output))


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the list of parts and wheels.

    Raises:
        Failure: If it is missing or damaged.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        names = [entry["name"] for entry in manifest["parts"] + manifest["wheels"]]
    except FileNotFoundError:
        raise Failure(f"expected {MANIFEST} next to join.py, found none; copy it too") from None
    except (ValueError, KeyError, TypeError):
        names = None
    if not names or any(not isinstance(name, str) or Path(name).name != name for name in names):
        raise Failure(f"expected the {MANIFEST} that belongs to join.py, found a damaged one; copy it again")
    return manifest


def _is_complete(wheels: list[dict[str, Any]], output: Path) -> bool:
    """Returns True if a folder has exactly these wheels."""
    if not output.is_dir() or sorted(file.name for file in output.iterdir()) != sorted(w["name"] for w in wheels):
        return False
    return all(_fault_of(output / wheel["name"], wheel) is None for wheel in wheels)


def _check_output(wheels: list[dict[str, Any]], output: Path) -> None:
    """Checks that the folder of wheels is new, or has only wheels of an earlier call.

    Raises:
        Failure: If it is a file, or has other files.
    """
    if output.exists() and not output.is_dir():
        raise Failure(f"expected a folder for the wheels, found a file: {output}")
    others = sorted({file.name for file in output.iterdir()} - {w["name"] for w in wheels}) if output.exists() else []
    if others:
        wanted = "expected a new folder for the wheels, found other files in {}, such as {}; name one with --output"
        raise Failure(wanted.format(output, others[0]))


def _check_parts(parts: list[dict[str, Any]], folder: Path) -> dict[str, Path]:
    """Checks every part and returns the path of each.

    Raises:
        Failure: If parts are missing or damaged; all of them are listed before.
    """
    found, faults = {}, 0
    for part in parts:
        places = [folder / "parts" / part["name"], folder / part["name"]]
        reasons = {place: _fault_of(place, part) for place in places}
        good = [place for place in places if reasons[place] is None]
        if good:
            found[part["name"]] = good[0]
        faults += not good
        reason = "" if good else next((r for r in reasons.values() if r != "missing"), "missing")
        _show("{}: {}".format(part["name"], reason or "correct"))
    if faults:
        wanted = "{} of {} parts missing or damaged; copy them again and run join.py again"
        raise Failure(wanted.format(faults, len(parts)))
    return found


def _fault_of(path: Path, entry: dict[str, Any]) -> str | None:
    """Returns the fault of a file, or None."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size != entry["size"]:
        return "damaged, {} of {} bytes".format(size, entry["size"])
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return None if digest.hexdigest() == entry["sha256"] else "damaged, its SHA-256 is another"


def _write_wheels(wheels: list[dict[str, Any]], parts: dict[str, Path], output: Path) -> None:
    """Writes the wheels under a temporary name, checks each, and renames the folder.

    Raises:
        Failure: If a wheel has another SHA-256.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(output.name + ".joining")
    shutil.rmtree(str(temporary), ignore_errors=True)  # of a call that was killed
    temporary.mkdir()
    try:
        for wheel in wheels:
            _write_wheel(temporary / wheel["name"], wheel["pieces"], parts)
            fault = _fault_of(temporary / wheel["name"], wheel)
            if fault:
                raise Failure("expected the wheel {}, found it {}".format(wheel["name"], fault))
        if output.exists():
            shutil.rmtree(str(output))
        temporary.rename(output)
    finally:
        shutil.rmtree(str(temporary), ignore_errors=True)


def _write_wheel(path: Path, pieces: list[dict[str, str]], parts: dict[str, Path]) -> None:
    """Writes the pieces of a wheel, one after the other."""
    with path.open("wb") as target:
        for piece in pieces:
            with zipfile.ZipFile(str(parts[piece["part"]])) as part, part.open(piece["entry"]) as source:
                shutil.copyfileobj(source, target, _CHUNK)


def next_step(manifest: dict[str, Any], folder: Path, output: Path) -> str:
    """Returns the command that installs the wheels."""
    if manifest["purpose"] == "gpu-kit":
        return f'next, in the checkout: make gpu WHEELS="{output}" PYTHON=python3'
    there = manifest["target"]
    lines = ["next, in an environment of Python {} on {}:".format(there["python"], there["system"])]
    words = 'python -m pip install --no-index --find-links "{}" --require-hashes --requirement "{}"'
    lines.append("  " + words.format(output, folder / "requirements.txt"))
    here = "{}.{}".format(*sys.version_info)
    if here != there["python"]:
        lines.append("This script runs on Python {}; the wheels are for Python {}.".format(here, there["python"]))
    if f"{platform.system()} {platform.machine()}" != there["system"]:
        lines.append(f"This machine is {platform.system()} {platform.machine()}.")
    return "\n".join(lines)


def _show(line: str) -> None:
    """Writes a line to the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _megabytes(size: int) -> str:
    """Returns a size in MB (10^6 bytes)."""
    return f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    main()
