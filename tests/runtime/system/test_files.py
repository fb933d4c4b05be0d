"""Files and folders are written completely or not at all, whatever happens meanwhile."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctonnx.system import files
from ctonnx.system.files import atomic_file, atomic_folder, made_folders, sha256_of, write_text

INTERRUPTIONS = [RuntimeError, OSError, KeyboardInterrupt, SystemExit]

UMASKS = [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o027, 0o640, 0o750), (0o000, 0o666, 0o777)]
"""A umask with the permissions of files and folders."""


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    mask: int = request.param
    before = os.umask(mask)
    yield mask
    os.umask(before)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order in which files are synced and renamed."""
    seen: list[str] = []

    def recorded(event: str, function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            seen.append(event)
            function(*arguments)

        return call

    for name, event in (("fsync", "sync"), ("replace", "rename"), ("rename", "rename")):
        monkeypatch.setattr(os, name, recorded(event, getattr(os, name)))
    return seen


def names(folder: Path) -> list[str]:
    """Returns all names in a folder, including hidden ones."""
    return sorted(os.listdir(folder))


def write_half_a_file(file: Path, interruption: type[BaseException]) -> None:
    with atomic_file(file) as temporary:
        temporary.write_bytes(b"half")
        raise interruption("in the middle")


def write_half_a_folder(folder: Path, interruption: type[BaseException]) -> None:
    with atomic_folder(folder) as temporary:
        (temporary / "new").write_bytes(b"half")
        raise interruption("in the middle")


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


# --- files -----------------------------------------------------------------------------------------------------------


def test_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with atomic_file(file) as temporary:
        temporary.write_bytes(b"new")
        assert not file.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".report.json.")
        assert temporary.suffix == ".part"
    assert file.read_bytes() == b"new"
    assert names(tmp_path) == ["report.json"]


def test_old_file_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(b"old")
    with atomic_file(file) as temporary:
        temporary.write_bytes(b"new")
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new"
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_error_in_the_block_leaves_the_old_file_and_nothing_else(
    interruption: type[BaseException], tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(b"old")
    with pytest.raises(interruption, match=r"^in the middle$"):
        write_half_a_file(file, interruption)
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_error_in_the_block_leaves_no_new_file(interruption: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(interruption, match=r"^in the middle$"):
        write_half_a_file(tmp_path / "report.json", interruption)
    assert names(tmp_path) == []


def test_block_that_removes_its_file_fails_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "report.json") as temporary:
        temporary.unlink()
    assert names(tmp_path) == []


def test_file_is_synced_before_it_is_renamed(tmp_path: Path, events: list[str]) -> None:
    write_text(tmp_path / "a.txt", "text")
    assert events[:2] == ["sync", "rename"]


@pytest.mark.parametrize(("umask", "mode"), [(mask, file) for mask, file, _ in UMASKS], indirect=["umask"])
def test_file_has_the_permissions_of_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "text")
    assert permissions(tmp_path / "a.txt") == mode
    assert os.umask(umask) == umask


def test_file_in_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "none" / "a.txt"):
        pytest.fail("the block was entered")
    assert names(tmp_path) == []


def test_folder_with_the_name_of_the_file_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "report" / "inner").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "report", "text")
    assert names(tmp_path) == ["report"]
    assert names(tmp_path / "report") == ["inner"]


@pytest.mark.parametrize("exists", [True, False])
def test_link_stays_and_its_target_is_written(exists: bool, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    if exists:
        (tmp_path / "disk" / "rows.csv").write_bytes(b"yesterday's")
    (tmp_path / "again.csv").symlink_to(Path("disk") / "rows.csv")
    (tmp_path / "rows.csv").symlink_to("again.csv")
    write_text(tmp_path / "rows.csv", "today's")
    assert (tmp_path / "disk" / "rows.csv").read_bytes() == b"today's"
    assert (tmp_path / "rows.csv").is_symlink()
    assert (tmp_path / "again.csv").is_symlink()
    assert (names(tmp_path), names(tmp_path / "disk")) == (["again.csv", "disk", "rows.csv"], ["rows.csv"])


@pytest.mark.skipif(os.name != "posix", reason="this system has no such files")
def test_special_file_is_rejected_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.csv").symlink_to("pipe")
    reader, writer = os.pipe()  # as /dev/stdout in a pipeline: the link's target does not exist
    for path in (tmp_path / "pipe", tmp_path / "link.csv", Path(f"/dev/fd/{writer}")):
        with pytest.raises(FileExistsError) as caught:
            write_text(path, "text")
        assert caught.value.strerror == "expected a file or nothing to write to, found a device, a pipe or a socket"
        assert caught.value.filename == str(path)
    os.close(reader)
    os.close(writer)
    assert names(tmp_path) == ["link.csv", "pipe"]


@pytest.mark.parametrize("name", ["a" * 255, "ö" * 127])
def test_longest_name_of_the_file_system_can_be_written(name: str, tmp_path: Path) -> None:
    write_text(tmp_path / name, "text")
    with atomic_folder(tmp_path / "folder" / name) as temporary:
        (temporary / "a").write_bytes(b"")
    assert names(tmp_path) == sorted([name, "folder"])
    assert names(tmp_path / "folder") == [name]


def test_text_is_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größer → 5 µm")
    assert (tmp_path / "a.txt").read_bytes().decode("utf-8") == "größer → 5 µm"


# --- folders ---------------------------------------------------------------------------------------------------------


def test_folder_and_its_parents_appear_when_the_block_ends(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a" / "export"
    with atomic_folder(folder) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "model").write_bytes(b"new")
        assert not folder.exists()
        assert temporary.parent == folder.parent
    assert (folder / "deep" / "model").read_bytes() == b"new"
    assert names(folder.parent) == ["export"]


def test_old_folder_is_replaced_with_all_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    with atomic_folder(folder) as temporary:
        (temporary / "new").write_bytes(b"new")
        assert names(folder) == ["old"]
    assert names(folder) == ["new"]
    assert names(tmp_path) == ["export"]


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_error_in_the_block_leaves_the_old_folder_and_nothing_else(
    interruption: type[BaseException], tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    with pytest.raises(interruption, match=r"^in the middle$"):
        write_half_a_folder(folder, interruption)
    assert (folder / "old").read_bytes() == b"old"
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["export"]


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_error_in_the_block_leaves_no_new_folder(interruption: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(interruption, match=r"^in the middle$"):
        write_half_a_folder(tmp_path / "export", interruption)
    assert names(tmp_path) == []


@pytest.mark.parametrize("interruption", [OSError, KeyboardInterrupt])
def test_error_while_the_new_folder_is_renamed_restores_the_old_one(
    interruption: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    rename = os.rename

    def fail_for_the_new_one(source: Path, target: Path) -> None:
        if source.suffix == ".part":
            raise interruption
        rename(source, target)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)  # as on a system without it
    monkeypatch.setattr(os, "rename", fail_for_the_new_one)
    with pytest.raises(interruption), atomic_folder(folder) as temporary:
        (temporary / "new").write_bytes(b"new")
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["export"]


@pytest.mark.skipif(sys.platform != "linux", reason="this system knows no such step")
def test_old_folder_is_replaced_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill between two renames the folder would be missing."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    monkeypatch.setattr(os, "rename", lambda *paths: pytest.fail(f"{paths} was renamed"))
    with atomic_folder(folder) as temporary:
        (temporary / "new").write_bytes(b"new")
    assert names(folder) == ["new"]
    assert names(tmp_path) == ["export"]


def test_old_folder_is_replaced_on_a_system_without_an_atomic_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    (tmp_path / "export").mkdir()
    (tmp_path / "export/old").write_bytes(b"old")
    with atomic_folder(tmp_path / "export") as temporary:
        (temporary / "new").write_bytes(b"new")
    assert names(tmp_path / "export") == ["new"]
    assert names(tmp_path) == ["export"]


def test_every_file_of_a_folder_is_synced_before_it_is_renamed(tmp_path: Path, events: list[str]) -> None:
    with atomic_folder(tmp_path / "export") as temporary:
        (temporary / "deep").mkdir()
        for name in ("a", "b", "deep/c"):
            (temporary / name).write_bytes(b"new")
    assert events[: events.index("rename")].count("sync") >= 3


@pytest.mark.parametrize(("umask", "mode"), [(mask, folder) for mask, _, folder in UMASKS], indirect=["umask"])
def test_folder_has_the_permissions_of_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "export"):
        pass
    assert permissions(tmp_path / "export") == mode
    assert os.umask(umask) == umask


@pytest.mark.parametrize("kind", ["file", "link to a folder"])
def test_no_temporary_name_is_left_if_something_else_has_the_folders_name(kind: str, tmp_path: Path) -> None:
    place, beside = tmp_path / "place", tmp_path / "beside"
    place.mkdir()
    beside.mkdir()
    if kind == "file":
        (place / "export").write_bytes(b"a file")
    else:
        (place / "export").symlink_to(beside)
    with contextlib.suppress(OSError), atomic_folder(place / "export") as temporary:  # an error is right, too
        (temporary / "new").write_bytes(b"new")
    assert names(place) == ["export"]


def test_working_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="expected another folder than the working folder"), atomic_folder(Path()):
        pass
    assert list(tmp_path.iterdir()) == []


# --- parent folders --------------------------------------------------------------------------------------------------


def test_folders_are_made_and_stay_without_an_error(tmp_path: Path) -> None:
    with made_folders(tmp_path / "a/b"):
        assert (tmp_path / "a/b").is_dir()
    assert (tmp_path / "a/b").is_dir()
    with made_folders(tmp_path / "a/b"):  # they exist
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_made_folders_are_removed_after_an_error_and_others_stay(error: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    def work(folder: str, file: str | None) -> None:
        with made_folders(tmp_path / folder):
            if file:
                (tmp_path / file).touch()
            raise error

    def fail(folder: str, file: str | None = None) -> None:
        with pytest.raises(error):
            work(folder, file)

    fail("a/b/c")
    assert list((tmp_path / "a").iterdir()) == []
    fail("a")
    assert (tmp_path / "a").is_dir()
    fail("a/b/c", "a/b/kept")  # another process wrote a file
    assert sorted(path.name for path in (tmp_path / "a").rglob("*")) == ["b", "kept"]


def test_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError), made_folders(tmp_path / "a"):
        pass
    with pytest.raises(NotADirectoryError), made_folders(tmp_path / "a/b/c"):
        pass
    assert (tmp_path / "a").is_file()


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2000
    (tmp_path / "model.onnx").write_bytes(content)
    assert sha256_of(tmp_path / "model.onnx") == sha256_of(content) == hashlib.sha256(content).hexdigest()


def test_sha256_of_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        sha256_of(tmp_path)
