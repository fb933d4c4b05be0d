"""Parts are at most as large as asked, and contain each byte of each wheel once."""

import random
import zipfile
from pathlib import Path

import pytest

from ctonnx_offline.parts import plan_parts, write_parts


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_within_the_limit_and_have_every_byte(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # sizes
    wheels, folder, limit = tmp_path / "wheels", tmp_path / "parts", 5000
    wheels.mkdir()
    folder.mkdir()
    lines: list[str] = []
    sizes = [0, 1, 4000, 4700, 5000, 5001, 60_000, *(chance.randrange(9000) for _ in range(12))]
    for number, size in enumerate(sizes):
        (wheels / f"a_package_{number}-1.0-py3-none-any.whl").write_bytes(chance.randbytes(size))
    parts = plan_parts({file.name: file.stat().st_size for file in sorted(wheels.iterdir())}, limit)
    write_parts(parts, wheels, folder, lines.append)
    assert [file.name for file in sorted(folder.iterdir())] == [part.name for part in parts]
    assert max(file.stat().st_size for file in folder.iterdir()) <= limit
    assert len(lines) == len(parts)
    # First-fit decreasing needs at most 11/9 of the optimum, and one more.
    assert len(parts) <= sum(file.stat().st_size for file in folder.iterdir()) / limit * 11 / 9 + 1
    joined: dict[str, bytes] = {file.name: b"" for file in wheels.iterdir()}
    pieces = sorted(((piece, part.name) for part in parts for piece in part.pieces), key=lambda pair: pair[0].start)
    for piece, name in pieces:
        with zipfile.ZipFile(folder / name) as archive:
            joined[piece.wheel] += archive.read(piece.entry)
    assert joined == {file.name: file.read_bytes() for file in wheels.iterdir()}


def test_part_is_planned_to_the_byte(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a" * 3000)
    [part] = plan_parts({"a.whl": 3000}, 4000)
    write_parts([part], tmp_path, tmp_path, lambda line: None)
    size = (tmp_path / part.name).stat().st_size
    assert size == part.pieces[0].packed + 22
    assert len(plan_parts({"a.whl": 3000}, size)) == 1
    assert len(plan_parts({"a.whl": 3000}, size - 1)) == 2


def test_wheel_that_fits_is_not_cut() -> None:
    sizes = {"large.whl": 25_000, **{f"small{number}.whl": 6000 for number in range(9)}}
    pieces = [piece for part in plan_parts(sizes, 10_000) for piece in part.pieces]
    assert {piece.wheel for piece in pieces if piece.entry != piece.wheel} == {"large.whl"}


def test_names_sort_in_order() -> None:
    names = [part.name for part in plan_parts({"a.whl": 11_000}, 1200)]
    assert names == sorted(names)
    assert (names[0], names[-1]) == ("part-01-of-11.zip", "part-11-of-11.zip")


def test_same_wheels_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"abc" * 100)
    parts = plan_parts({"a.whl": 300}, 1000)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        write_parts(parts, tmp_path, folder, lambda line: None)
    assert (folders[0] / parts[0].name).read_bytes() == (folders[1] / parts[0].name).read_bytes()
