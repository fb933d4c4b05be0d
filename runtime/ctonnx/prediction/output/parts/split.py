"""Splits files into shards by their names: the same split on each machine, with no list that they must share.

A file is in the shard that the SHA-256 of its name selects. Its name is its path below the folder that was given, with
`/` between the parts, in UTF-8 and Unicode's composed form (NFC). So neither the place of the folder, nor the operating
system, the locale, the order of the file system or another file changes its shard.
"""

import glob
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["Listing", "Shard", "Split", "names_below", "split_files"]


@dataclass(frozen=True)
class Shard:
    """One of several shards: its number, from 1, and the number of all shards.

    >>> shard = Shard.of("3/16")
    >>> shard.number, shard.count, str(shard)
    (3, 16, '3/16')
    """

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> "Shard":
        """Returns the shard with a name such as `3/16`.

        Raises:
            ValueError: If the text is not such a name.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(
                f"expected a number of a shard, from 1, and the number of shards, as in 3/16, found '{text}'"
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, digest: bytes) -> bool:
        """Returns whether a file is in this shard, by the SHA-256 of its name: its first 64 bits modulo the count."""
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


class Listing(NamedTuple):
    """All files of a split, as a shard saw them: their number, and a digest of their names in any order."""

    files: int
    digest: str


class Split(NamedTuple):
    """The files of a shard in their order, and all files among which it was chosen."""

    files: list[str]
    listing: Listing


def names_below(paths: Sequence[str]) -> Callable[[str], str]:
    """Returns a function that returns the name of a file in the split, which does not depend on where the files are.

    It is the path below a folder in `paths`, below the fixed part of a pattern, or the name alone of a file there. If
    there are several `paths`, a folder's own name is in front. Other files, such as those of a list, keep their path.

    >>> names_below(["/mnt/a/scans/**/*.png"])("/mnt/a/scans/inner/1.png")
    'inner/1.png'

    Args:
        paths: Files, folders and patterns, as `ctonnx.prediction.inputs.find_images` takes them.
    """
    roots = sorted({os.path.join(_root(path, several=len(paths) > 1), "") for path in paths}, key=len, reverse=True)

    def name(file: str) -> str:
        absolute = _absolute(file)
        below = next((absolute[len(root) :] for root in roots if absolute.startswith(root)), os.path.normpath(file))
        return below.replace(os.sep, "/")

    return name


def split_files(
    files: Iterable[str], shard: Shard, name: Callable[[str], str], *, whole_folders: bool = False
) -> Split:
    """Returns the files of a shard; a file that is named twice counts once.

    Args:
        files: Paths.
        shard: The shard.
        name: Returns the name of a file; see `names_below`.
        whole_folders: Whether the files that a folder contains directly are in one shard, by the folder's name.
    """
    seen, chosen, total = set[str](), list[str](), 0
    for file in files:
        absolute = _absolute(file)
        if absolute in seen:
            continue
        seen.add(absolute)
        digest = _digest(named := name(file))
        total += int.from_bytes(digest, "big")
        if shard.has(_digest(named.rpartition("/")[0]) if whole_folders else digest):
            chosen.append(file)
    return Split(chosen, Listing(len(seen), f"{total % 2**256:064x}"))


def _root(path: str, *, several: bool) -> str:
    """Returns the absolute path of the folder below which the files of an argument are named."""
    if os.path.isdir(path):
        folder = _absolute(path)
        return os.path.split(folder)[0] if several else folder
    if os.path.lexists(path) or not glob.has_magic(path):
        return os.path.split(_absolute(path))[0]
    fixed: list[str] = []
    for part in Path(path).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return _absolute(os.path.join(*fixed) if fixed else os.curdir)


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps `..`, and is ten times as slow


def _digest(name: str) -> bytes:
    """Returns the SHA-256 of a name; that of its bytes, where these are not UTF-8."""
    text = os.fsencode(name).decode("utf-8", "surrogateescape")  # the name's bytes, in any locale
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")).digest()
