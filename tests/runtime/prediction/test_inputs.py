"""From the arguments of a command line to files: in order, each once, and none skipped silently."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ctonnx.errors import CtonnxError
from ctonnx.prediction.inputs import Listing, find_images, is_ignored, is_scan, list_files, without_outputs


@pytest.fixture(autouse=True)
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in a folder with scans/, whose images come in an order that a file system may not keep."""
    monkeypatch.chdir(tmp_path)
    for name in ("c.png", "a.png", "deep/b.png", "deep/er/a.png", "B.png"):
        touch(f"scans/{name}")
    return tmp_path / "scans"


def touch(*names: str) -> None:
    """Creates empty files and their folders."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def error_of(*paths: str) -> str:
    with pytest.raises(CtonnxError) as caught:
        find_images(paths)
    assert caught.value.exit_code == 2
    return str(caught.value)


ALL = ["scans/B.png", "scans/a.png", "scans/c.png", "scans/deep/b.png", "scans/deep/er/a.png"]


# --- files and folders -----------------------------------------------------------------------------------------------


def test_folder_is_read_recursively_and_sorted() -> None:
    assert find_images(["scans"]) == ALL


@pytest.mark.parametrize("given", ["scans", "./scans", "scans/"])
def test_files_are_named_as_their_folder_was_typed(given: str) -> None:
    assert find_images([given]) == [os.path.join(given, name.removeprefix("scans/")) for name in ALL]


def test_order_of_the_command_line_is_kept() -> None:
    assert find_images(["scans/c.png", "scans/deep/er", "scans/a.png"]) == [
        "scans/c.png",
        "scans/deep/er/a.png",
        "scans/a.png",
    ]


def test_file_that_is_named_twice_is_predicted_twice() -> None:
    assert find_images(["scans/a.png", "scans/a.png"]) == ["scans/a.png", "scans/a.png"]


@pytest.mark.parametrize("name", ["none.png", "none", "no folder/none.png", ""])
def test_file_that_is_missing_stays(name: str) -> None:
    assert find_images(["scans/a.png", name]) == ["scans/a.png", name]


@pytest.mark.parametrize("name", ["notes.txt", ".hidden.png", "Thumbs.db", "noending"])
def test_file_that_is_named_stays_whatever_it_is(name: str) -> None:
    touch(name)
    assert find_images([name]) == [name]


def test_link_that_leads_nowhere_stays() -> None:
    Path("scans/link.png").symlink_to("nowhere")
    assert "scans/link.png" in find_images(["scans"])
    assert find_images(["scans/link.png"]) == ["scans/link.png"]


@pytest.mark.parametrize(
    "name",
    [
        "Thumbs.db",
        "thumbs.db",
        "desktop.ini",
        "Desktop.ini",
        ".DS_Store",
        "._a.png",
        "ehthumbs.db",
        "Icon\r",
        "~$a.doc",
        "ehthumbs_vista.db",
        "@eaDir/a.png/SYNOPHOTO_THUMB_XL.jpg",
        "#recycle/a.png",
        "$RECYCLE.BIN/desktop.png",
        "__MACOSX/a.png",
        "System Volume Information/a.png",
        "lost+found/a.png",
        "@Recycle/a.png",
        "found.000/a.png",
        ".Trashes/501/a.png",
        ".ipynb_checkpoints/a.png",
        "a.png@SynoEAStream",
        "RECYCLER/a.png",
    ],
)
def test_files_that_systems_create_are_skipped(name: str) -> None:
    touch(f"scans/{name}", f"scans/deep/{name}")
    assert find_images(["scans"]) == ALL


def test_hidden_folder_is_skipped_unless_it_is_named() -> None:
    touch("scans/.cache/a.png")
    assert find_images(["scans"]) == ALL
    assert find_images(["scans/.cache"]) == ["scans/.cache/a.png"]


@pytest.mark.parametrize("pattern", ["left/**/*.png", "left/*", "left/**", "left/@*/*", "left/@ea???"])
def test_pattern_skips_folders_that_systems_create_unless_it_names_them(pattern: str) -> None:
    touch("left/a.png", "left/@eaDir/a.png", "left/@eaDir/b")
    if "@" in pattern:
        assert error_of(pattern).startswith("expected files that match")
    else:
        assert find_images([pattern]) == ["left/a.png"]
    assert find_images(["left/@eaDir/*.png"]) == ["left/@eaDir/a.png"]
    assert find_images(["left/@eaDir"]) == ["left/@eaDir/a.png", "left/@eaDir/b"]


@pytest.mark.parametrize(
    "name", ["eaDir/a.png", "recycle/a.png", "found/a.png", "lost/a.png", "icon.png", "thumbs.png"]
)
def test_name_that_only_resembles_a_systems_is_that_of_a_scan(name: str) -> None:
    touch(f"scans/{name}")
    assert f"scans/{name}" in find_images(["scans"])


def test_listing_includes_ignored_files() -> None:
    touch("scans/Thumbs.db", "scans/deep/@eaDir/a.png", "scans/.git/HEAD")
    assert list_files("scans") == Listing(ALL, ["scans/.git", "scans/Thumbs.db", "scans/deep/@eaDir"])


@pytest.mark.parametrize(("name", "is_folder"), [("@eaDir", False), ("Thumbs.db", True), ("a.png", False), ("a", True)])
def test_file_with_a_folders_name_and_folder_with_a_files_are_not_ignored(name: str, is_folder: bool) -> None:
    assert not is_ignored(name, is_folder=is_folder)


def test_scan_is_known_by_its_name_or_its_beginning() -> None:
    touch("empty.png", "notes.txt")
    Path("IM0001").write_bytes(b"\0" * 128 + b"DICM")
    Image.new("L", (4, 4)).save("scan.doc", "PNG")
    assert [is_scan(name) for name in ("empty.png", "IM0001", "scan.doc", "notes.txt", "none")] == [True] * 3 + [
        False
    ] * 2


def test_file_under_another_ending_is_not_skipped() -> None:
    touch("scans/scan.dcm", "scans/deep/noending")
    assert {"scans/scan.dcm", "scans/deep/noending"} < set(find_images(["scans"]))


def test_folder_whose_only_scan_has_a_wrong_ending_is_taken() -> None:
    touch("odd/a.txt", "odd/z.dcm")
    Image.new("L", (4, 4)).save("odd/scan.doc", "PNG")
    assert find_images(["odd"]) == ["odd/scan.doc", "odd/z.dcm"]


def test_texts_in_a_folder_are_skipped_and_counted_unless_they_are_scans() -> None:
    touch("scans/README.TXT", "scans/deep/labels.csv", "scans/noending", "scans/scan.nii.gz")
    Image.new("L", (4, 4)).save("scans/scan.txt", "PNG")
    Path("scans/IM1.json").write_bytes(b"\0" * 128 + b"DICM")
    lines: list[str] = []
    found = find_images(["scans", "scans/README.TXT"], lines.append)
    assert set(found) == {*ALL, "scans/IM1.json", "scans/noending", "scans/scan.nii.gz", "scans/scan.txt"} | {
        "scans/README.TXT"  # it is named
    }
    assert lines == ["skipped: 2 other files ('scans/README.TXT' first), no image by name and content"]
    assert "scans/README.TXT" in find_images(["scans/*"], lines.append)
    assert find_images(["scans/deep"], lines.append) == ["scans/deep/b.png", "scans/deep/er/a.png"]
    assert lines[1:] == ["skipped: 1 other file ('scans/deep/labels.csv' first), no image by name and content"]


def test_series_without_endings_is_known_by_the_files_beginnings(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("series/1", "series/2", "series/DICOMDIR", "series/dicomdir")
    Path("series/2").write_bytes(b"\0" * 128 + b"DICM")
    monkeypatch.setitem(sys.modules, "pydicom", None)  # their failures name the extra to install
    monkeypatch.setitem(sys.modules, "ctonnx.images.dicom.file", None)
    assert find_images(["series"]) == ["series/1", "series/2"]
    assert find_images(["series/DICOMDIR"]) == ["series/DICOMDIR"]


@pytest.mark.skipif(os.name != "posix", reason="this system has no such names or files")
def test_strange_names_survive_and_special_files_are_not_opened() -> None:
    names = sorted(["a\nb.png", " a  b .png", os.fsdecode(b"\xff\xfe.png")])
    try:
        touch(*(f"odd/{name}" for name in names))
    except OSError:
        pytest.skip("this file system takes no such name")
    os.mkfifo("odd/pipe")
    assert find_images(["odd"]) == [f"odd/{name}" for name in sorted([*names, "pipe"])]
    Path("pipes").mkdir()
    os.mkfifo("pipes/pipe")
    assert error_of("pipes").startswith("expected images in 'pipes', found 1 other file;")


def test_folder_with_a_damaged_image_is_taken() -> None:
    touch("odd/empty.png")
    assert find_images(["odd"]) == ["odd/empty.png"]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ((), "an empty folder"),
        (("Thumbs.db", ".hidden.png"), "an empty folder"),
        (("deep/Thumbs.db",), "an empty folder"),
        (("a.txt",), "1 other file"),
        (("a.txt", "deep/b.csv"), "2 other files"),
    ],
)
def test_folder_without_images_is_an_error(files: tuple[str, ...], found: str) -> None:
    Path("none").mkdir()
    touch(*(f"none/{name}" for name in files))
    assert error_of("scans", "none") == (
        f"expected images in 'none', found {found}; name a folder with PNG, JPEG or TIFF files"
    )


# --- patterns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("scans/*.png", ALL[:3]),
        ("scans/[ab].png", ["scans/a.png"]),
        ("scans/?.png", ALL[:3]),
        ("scans/**/*.png", ALL),
        ("scans/**/a.png", ["scans/a.png", "scans/deep/er/a.png"]),
        ("**/a.png", ["scans/a.png", "scans/deep/er/a.png"]),
        ("sc*s/deep", ["scans/deep/b.png", "scans/deep/er/a.png"]),
        ("scans/*", ALL),
        ("scans/**", ALL),
        ("scans/**/*", ALL),
        ("**", ALL),
    ],
)
def test_pattern_finds_each_file_once_and_in_order(pattern: str, expected: list[str]) -> None:
    assert find_images([pattern]) == expected


def test_absolute_pattern_finds_absolute_names(scans: Path) -> None:
    assert find_images([f"{scans}/**/b.png"]) == [f"{scans}/deep/b.png"]


@pytest.mark.parametrize("name", ["scan[1].png", "what?.png", "star*.png", "[a-z].png"])
def test_file_whose_name_holds_a_patterns_signs_is_meant_itself(name: str) -> None:
    touch(name)
    assert find_images([name]) == [name]


def test_folder_whose_name_holds_brackets_is_meant_itself() -> None:
    touch("study[2]/a[1].png", "study[2]/b.png")
    assert find_images(["study[2]"]) == ["study[2]/a[1].png", "study[2]/b.png"]
    assert find_images(["study*/*.png"]) == ["study[2]/a[1].png", "study[2]/b.png"]


def test_pattern_skips_hidden_files() -> None:
    touch("scans/.hidden.png", "scans/.cache/a.png")
    assert find_images(["scans/**/*.png"]) == ALL


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", ".DS_Store", "._a.png", "DICOMDIR"])
@pytest.mark.parametrize("pattern", ["scans/**", "scans/**/*", "scans/deep/*", "scans/**/.*", "scans/**/[!x]*"])
def test_pattern_skips_files_that_systems_create(pattern: str, name: str) -> None:
    touch("scans/.a.png", "scans/deep/.b.png")
    before = find_images([pattern])
    touch(f"scans/{name}", f"scans/deep/{name}")
    assert find_images([pattern]) == before


def test_pattern_that_only_matches_files_of_systems_is_an_error() -> None:
    touch("left/Thumbs.db")
    assert error_of("left/*").startswith("expected files that match 'left/*', found none")


def test_order_of_patterns_is_kept() -> None:
    assert find_images(["scans/deep/*.png", "scans/[a]*.png"]) == ["scans/deep/b.png", "scans/a.png"]


@pytest.mark.parametrize("pattern", ["*.tif", "none/*.png", "scan[1].png", "scans/**/*.jpg"])
def test_pattern_that_matches_nothing_is_an_error(pattern: str, tmp_path: Path) -> None:
    assert error_of("scans/a.png", pattern) == (
        f"expected files that match '{pattern}', found none (in '{tmp_path}'); check the pattern"
    )


def test_pattern_that_matches_an_empty_folder_alone_is_an_error() -> None:
    Path("empty").mkdir()
    assert re.match(r"expected files that match 'empt\*', found none", error_of("empt*"))


def test_no_path_gives_no_file() -> None:
    assert find_images([]) == []


def test_links_to_folders_are_followed_once_and_a_circle_ends() -> None:
    touch("linked/a/1.png", "elsewhere/2.png")
    Path("linked/b").symlink_to(Path("elsewhere").resolve())
    Path("linked/a/again").symlink_to(Path("linked").resolve())
    assert find_images(["linked"]) == ["linked/a/1.png", "linked/b/2.png"]


def test_links_beside_the_folder_that_they_lead_to_give_its_files_once() -> None:
    touch("linked/z/1.png", "elsewhere/2.png")
    Path("linked/a").symlink_to("z")
    Path("linked/b").symlink_to(Path("elsewhere").resolve())
    Path("linked/c").symlink_to(Path("elsewhere").resolve())
    assert find_images(["linked"]) == ["linked/a/1.png", "linked/b/2.png"]


def test_folder_that_cannot_be_read_is_not_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "1.png").write_bytes(b"")
    scandir = os.scandir

    def closed(folder: str) -> Any:
        if folder.endswith("closed"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr("os.scandir", closed)
    with pytest.raises(CtonnxError) as caught:
        find_images([str(tmp_path)])
    assert str(caught.value) == (
        f"expected to read every folder, could not open '{tmp_path / 'closed'}' (permission denied); "
        "fix its permissions or name the other folders"
    )


# --- what the command wrote ------------------------------------------------------------------------------------------


def kept(*files: str, output: str | None = None, heatmaps: str | None = None) -> list[str]:
    return without_outputs(
        files,
        output=None if output is None else Path(output),
        heatmaps=None if heatmaps is None else Path(heatmaps),
    )


def test_file_of_rows_is_not_a_scan_however_it_is_named(scans: Path) -> None:
    touch("scans/rows.csv", "scans/other.csv")
    Path("latest.csv").symlink_to("scans/rows.csv")
    for output in ("scans/rows.csv", "scans/deep/../rows.csv", str(scans / "rows.csv"), "latest.csv"):
        for named in ("scans/rows.csv", "./scans/rows.csv", str(scans / "rows.csv")):
            assert kept("scans/a.png", named, "scans/other.csv", output=output) == ["scans/a.png", "scans/other.csv"]


def test_file_of_rows_with_another_ending_is_not_a_scan() -> None:
    assert kept("scans/a.png", "scans/rows", "scans/rows.txt", output="scans/rows") == ["scans/a.png", "scans/rows.txt"]


def test_heatmaps_in_their_folder_are_not_scans_and_other_files_are() -> None:
    drawn = ["scans/maps/a.png.heatmap.png", "scans/maps/deep/b.png.heatmap.png"]
    scans = ["scans/a.png", "scans/maps/a.png", "scans/mapsa/a.png.heatmap.png", "scans/a.heatmap.png"]
    assert kept(*drawn, *scans, heatmaps="scans/maps") == scans
    assert kept("a.png", "a.png.heatmap.png", heatmaps=".") == ["a.png"]


def test_all_files_are_kept_if_nothing_is_written() -> None:
    assert kept("a.csv", "a.png.heatmap.png") == ["a.csv", "a.png.heatmap.png"]
    assert kept(output="a.csv") == []


def test_only_files_that_the_command_wrote_is_an_error() -> None:
    with pytest.raises(CtonnxError) as caught:
        kept("rows.csv", output="rows.csv")
    assert str(caught.value) == (
        "expected images to predict, found only files that this command writes, such as 'rows.csv'; name others"
    )
