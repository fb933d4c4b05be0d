"""Packs wheels into parts of a limited size: ZIP files of whole wheels, and of pieces of those larger than a part.

Each part can be checked and opened by itself. A wheel that fits is never cut, so that few wheels depend on two parts.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx.system.text import Log

__all__ = ["Part", "Piece", "plan_parts", "write_parts"]

_END_OF_ZIP = 22  # bytes; the headers of an entry are 30 and 46 and its name, twice
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes of a wheel, and their entry in a part.

    Attributes:
        wheel: File name of the wheel.
        entry: Name of the entry.
        start: Place of the first byte in the wheel.
        size: Number of bytes.
    """

    wheel: str
    entry: str
    start: int
    size: int

    @property
    def packed(self) -> int:
        """Bytes that the entry needs in a part."""
        return self.size + 76 + 2 * len(self.entry.encode())


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of at most the limited size.

    Attributes:
        name: File name.
        pieces: Entries of the part.
    """

    name: str
    pieces: tuple[Piece, ...]


def plan_parts(sizes: Mapping[str, int], limit: int) -> list[Part]:
    """Distributes wheels over few parts: the largest first, each into the first part with room for it.

    Args:
        sizes: Bytes of each wheel.
        limit: Largest number of bytes of a part.

    >>> [[piece.entry for piece in part.pieces] for part in plan_parts({"a.whl": 2500, "b.whl": 100}, 1200)]
    [['a.whl.1-of-3'], ['a.whl.2-of-3'], ['a.whl.3-of-3', 'b.whl']]
    """
    pieces = [piece for wheel, size in sizes.items() for piece in _pieces(wheel, size, limit)]
    parts: list[list[Piece]] = []
    free: list[int] = []
    for piece in sorted(pieces, key=lambda piece: (-piece.size, piece.wheel, piece.start)):
        place = next((place for place, room in enumerate(free) if piece.packed <= room), len(parts))
        if place == len(parts):
            parts.append([])
            free.append(limit - _END_OF_ZIP)
        parts[place].append(piece)
        free[place] -= piece.packed
    digits = len(str(len(parts)))
    return [
        Part(name=f"part-{number:0{digits}}-of-{len(parts)}.zip", pieces=tuple(entries))
        for number, entries in enumerate(parts, 1)
    ]


def _pieces(wheel: str, size: int, limit: int) -> list[Piece]:
    whole = Piece(wheel=wheel, entry=wheel, start=0, size=size)
    if whole.packed + _END_OF_ZIP <= limit:
        return [whole]
    # Up to 12 more characters in the names of pieces, such as `.10-of-12`.
    room = limit - _END_OF_ZIP - (whole.packed - size) - 2 * 12
    starts = range(0, size, room)
    return [
        Piece(wheel=wheel, entry=f"{wheel}.{number}-of-{len(starts)}", start=start, size=min(room, size - start))
        for number, start in enumerate(starts, 1)
    ]


def write_parts(parts: Sequence[Part], wheels: Path, folder: Path, log: Log) -> None:
    """Writes parts into a folder; the same wheels give the same bytes."""
    for part in parts:
        with zipfile.ZipFile(folder / part.name, "w", zipfile.ZIP_STORED) as target:
            for piece in part.pieces:
                _write_piece(target, piece, wheels)
        log(f"{part.name}: {(folder / part.name).stat().st_size / 1e6:.1f} MB")


def _write_piece(target: zipfile.ZipFile, piece: Piece, wheels: Path) -> None:
    entry = zipfile.ZipInfo(piece.entry)  # its date is 1980-01-01
    entry.file_size = piece.size
    entry.external_attr = 0o644 << 16
    with (wheels / piece.wheel).open("rb") as source, target.open(entry, "w") as written:
        source.seek(piece.start)
        left = piece.size
        while left:
            chunk = source.read(min(_CHUNK, left))
            written.write(chunk)
            left -= len(chunk)
