"""The split into shards: each file in one, by its name alone, on each machine."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from ctonnx.prediction.inputs import find_images
from ctonnx.prediction.output.parts.split import Shard, Split, names_below, split_files


def shards_of(files: Iterable[str], count: int, paths: list[str], *, whole_folders: bool = False) -> list[Split]:
    files, name = list(files), names_below(paths)
    return [
        split_files(files, Shard(number, count), name, whole_folders=whole_folders) for number in range(1, count + 1)
    ]


SHARDS = {
    "a.png": 9,
    "b/a.png": 9,
    "b/c.png": 16,
    "größe.png": 10,
    "a b#1.dcm": 12,
    "b/d/e/x.png": 15,
    "x\udcff.png": 9,
}
"""Shard of 16 of each name: 1 + 0x$(printf %s NAME | sha256sum | head -c 16) % 16."""


def test_shard_of_each_name_is_fixed_forever() -> None:
    """Machines with different releases must agree."""
    for name, number in SHARDS.items():
        assert [n for n in range(1, 17) if split_files([name], Shard(n, 16), str).files] == [number], name


@pytest.mark.parametrize("count", [1, 2, 8])
def test_each_file_is_in_one_shard_in_its_order(count: int) -> None:
    files = [f"scans/{number % 7}/{number}.png" for number in range(1000)]
    shards = shards_of(files, count, ["scans"])
    assert sorted(file for shard in shards for file in shard.files) == sorted(files)
    assert all(shard.files == sorted(shard.files, key=files.index) for shard in shards)
    assert max(len(shard.files) for shard in shards) < 1.35 * 1000 / count
    assert {shard.listing.files for shard in shards} == {1000}
    assert len({shard.listing for shard in shards}) == 1


def test_place_of_the_folder_and_how_it_is_named_change_no_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for place in (tmp_path / "a/scans", tmp_path / "b/other/name"):
        for name in ("1.png", "inner/2.png", "inner/3.png", "z/4.png", "z/5.png"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(b"\x89PNG\r\n\x1a\n")
        monkeypatch.chdir(place)
        for path in (str(place), ".", "./", "../" + place.name, "**/*.png", str(place / "**/*.png")):
            files = find_images([path])
            found.append(
                [sorted(os.path.relpath(file, place) for file in shard.files) for shard in shards_of(files, 3, [path])]
            )
            assert len({shard.listing.digest for shard in shards_of(files, 3, [path])}) == 1
    assert len(found) == 12
    assert all(one == found[0] for one in found)


def test_other_order_and_other_files_move_no_file() -> None:
    files = [f"scans/{number}.png" for number in range(100)]
    more = [f"scans/new/{number}.png" for number in range(50)]
    for shard, other in zip(
        shards_of(files, 4, ["scans"]), shards_of([*more, *files[::-1]], 4, ["scans"]), strict=True
    ):
        assert set(shard.files) == set(other.files) & set(files)
    assert shards_of(files, 4, ["scans"])[0].listing == shards_of(files[::-1], 4, ["scans"])[0].listing
    assert shards_of(files, 4, ["scans"])[0].listing != shards_of(files[1:] + more[:1], 4, ["scans"])[0].listing


def test_composed_and_decomposed_names_are_one() -> None:
    """Linux keeps the bytes of a name, older file systems of macOS store it decomposed."""
    for shard in range(1, 9):
        composed, decomposed = (split_files([name], Shard(shard, 8), str) for name in ("gr\u00f6.png", "gro\u0308.png"))
        assert bool(composed.files) == bool(decomposed.files)
        assert composed.listing == decomposed.listing


@pytest.mark.skipif(sys.platform == "win32", reason="names there are no bytes")
def test_locale_changes_no_shard(tmp_path: Path) -> None:
    for name in (b"gr\xc3\xb6\xc3\x9fe.png", b"x\xff.png", "日本.png".encode()):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):  # noqa: PTH123 - a Path cannot be bytes
            pass
    code = (
        "import os, sys; from ctonnx.prediction.output.parts.split import *; files = os.listdir(sys.argv[1]);"
        "print([sorted(map(os.fsencode, split_files(files, Shard(i, 5), str).files)) for i in range(1, 6)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code, tmp_path],
            check=True,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": utf8, "PYTHONCOERCECLOCALE": "0"},
        ).stdout
        for utf8 in ("0", "1")
    }
    assert len(printed) == 1


def test_several_paths_have_their_names_in_front() -> None:
    assert names_below(["a/x", "a/y"])("a/x/1.png") == "x/1.png"
    assert names_below(["/mnt/1.png"])("/mnt/1.png") == "1.png"
    assert names_below(["a/*/b/*.png"])("a/x/b/1.png") == "x/b/1.png"
    assert names_below([])("./some//1.png") == "some/1.png"  # of a list


def test_file_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    file = str(tmp_path / "a.png")
    split = split_files([file, f"{tmp_path}/./a.png"], Shard(1, 1), names_below([str(tmp_path)]))
    assert (split.files, split.listing.files) == ([file], 1)


def test_whole_folders_are_in_one_shard() -> None:
    files = [f"scans/{number % 23}/{number}.png" for number in range(400)]
    shards = shards_of(files, 4, ["scans"], whole_folders=True)
    per_folder = Counter(folder for shard in shards for folder in {Path(file).parent for file in shard.files})
    assert set(per_folder.values()) == {1}
    assert sorted(file for shard in shards for file in shard.files) == sorted(files)
    assert all(shard.files for shard in shards)


def test_folders_that_a_shell_listed_are_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`scans/*` is all of its folders, each with the same names of files."""
    monkeypatch.chdir(tmp_path)
    paths = [f"scans/{number}" for number in range(40)]
    for path in paths:
        Path(path).mkdir(parents=True)
    files = [f"{path}/1.png" for path in paths]
    assert names_below(paths)("scans/7/1.png") == "7/1.png"
    assert all(shard.files for shard in shards_of(files, 4, paths))
    assert all(shard.files for shard in shards_of(files, 4, paths, whole_folders=True))


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "3/0", "-1/4", "a/b", "1/4/2", "³/4", " 1/4", "1/4 "])
def test_other_texts_are_no_shard(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number of a shard, from 1, and the number of shards, as in 3/16"):
        Shard.of(text)
