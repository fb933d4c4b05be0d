"""Files that a killed process left behind are removed by the next one; those of a running process stay."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ctonnx.system import temporary_files
from ctonnx.system.files import atomic_file, atomic_folder
from ctonnx.system.temporary_files import remove_leftovers, temporary_name

WRITER = """
import sys
from pathlib import Path
from ctonnx.system import files as writing
path = Path(sys.argv[2])
with getattr(writing, sys.argv[1])(path) as temporary:
    if temporary.is_dir():
        (temporary / "half").write_bytes(b"half")
    print(temporary, flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@contextmanager
def writing(how: str, path: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A process that writes `path` without finishing."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, how, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def killed(how: str, path: Path) -> Path:
    """Returns the temporary path of a process that was killed while it wrote `path`."""
    with writing(how, path) as (process, temporary):
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()
    assert temporary.exists()
    return temporary


@pytest.mark.parametrize("how", ["atomic_file", "atomic_folder"])
def test_leftovers_of_a_killed_process_are_removed_and_logged(how: str, tmp_path: Path) -> None:
    temporary, logged = killed(how, tmp_path / "export"), list[str]()
    assert remove_leftovers([tmp_path], logged.append) == [temporary]
    assert names(tmp_path) == []
    assert logged == [f"removed 1 temporary file or folder of a killed process from '{tmp_path}': '{temporary.name}'"]


@pytest.mark.parametrize("how", ["atomic_file", "atomic_folder"])
def test_files_of_a_running_process_stay(how: str, tmp_path: Path) -> None:
    with writing(how, tmp_path / "export") as (_, temporary):
        before = names(tmp_path)
        assert remove_leftovers([tmp_path], pytest.fail) == []
        assert names(tmp_path) == before
        assert temporary.exists()


def test_files_of_this_process_stay(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a"), atomic_folder(tmp_path / "b"):
        before = names(tmp_path)
        assert remove_leftovers([tmp_path], pytest.fail) == []
        assert names(tmp_path) == before
    assert names(tmp_path) == ["a", "b"]


def test_several_leftovers_are_logged_in_one_line(tmp_path: Path) -> None:
    found = sorted(killed("atomic_file", tmp_path / name).name for name in "abcd")
    logged = list[str]()
    assert len(remove_leftovers([tmp_path, tmp_path, tmp_path / "none"], logged.append)) == 4
    shown = ", ".join(f"'{name}'" for name in found[:3])
    assert logged == [f"removed 4 temporary files or folders of a killed process from '{tmp_path}': {shown}, ..."]
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        ".export.0123456789ab.part",  # written by a version without locks
        ".rows.csv.part",
        ".poetry.lock",
        "rows.0123abcd-0123456789ab.lock",
        ".export.0123abcd-0123456789ab.part",  # without a lock file
    ],
)
def test_other_files_stay(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    assert remove_leftovers([tmp_path], pytest.fail) == []
    assert names(tmp_path) == [name]


def test_renamed_folder_is_restored_if_its_replacement_is_missing(tmp_path: Path) -> None:
    """State after a kill between the two renames on a system without an atomic exchange."""
    temporary = killed("atomic_folder", tmp_path / "export")
    old = temporary.with_suffix(".old")
    old.mkdir()
    (old / "model").write_bytes(b"old")
    logged = list[str]()
    assert remove_leftovers([tmp_path], logged.append) == [temporary]
    assert logged[0] == f"put '{tmp_path / 'export'}' back, which a killed process had moved out of the way"
    assert names(tmp_path) == ["export"]
    assert (tmp_path / "export/model").read_bytes() == b"old"


def test_renamed_folder_is_removed_if_its_replacement_exists(tmp_path: Path) -> None:
    temporary = killed("atomic_folder", tmp_path / "export")
    old = temporary.with_suffix(".old")
    temporary.rename(tmp_path / "export")
    old.mkdir()
    assert remove_leftovers([tmp_path]) == [old]
    assert names(tmp_path) == ["export"]
    assert names(tmp_path / "export") == ["half"]


def of_another_machine(temporary: Path) -> Path:
    """Renames a leftover as if another machine, or an earlier boot of this one, had made it."""
    for suffix in (".part", ".lock"):
        path = temporary.with_suffix(suffix)
        path.rename(path.with_name(path.name.replace(temporary_files._machine(), "00000000")))
    return temporary.with_name(temporary.name.replace(temporary_files._machine(), "00000000"))


@pytest.mark.parametrize(("kind", "goes"), [("ext4", True), ("nfs4", False), ("cifs", False), (None, False)])
def test_leftover_of_another_machine_or_boot_is_removed_from_a_disk_and_stays_on_a_share(
    kind: str | None, goes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may not share locks between machines."""
    temporary = of_another_machine(killed("atomic_file", tmp_path / "rows.csv"))
    monkeypatch.setattr(temporary_files, "file_system", lambda path: kind)
    assert remove_leftovers([tmp_path]) == ([temporary] if goes else [])
    assert temporary.exists() is not goes


def test_own_leftover_on_a_share_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = killed("atomic_file", tmp_path / "rows.csv")
    monkeypatch.setattr(temporary_files, "file_system", lambda path: "nfs4")
    assert remove_leftovers([tmp_path]) == [temporary]


@pytest.mark.skipif(os.name != "posix", reason="this system has no such locks")
def test_nothing_is_removed_from_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    killed("atomic_file", tmp_path / "rows.csv")
    before = names(tmp_path)
    monkeypatch.setattr("fcntl.flock", none)
    with atomic_file(tmp_path / "new"):
        pass
    assert remove_leftovers([tmp_path]) == []
    assert names(tmp_path) == sorted([*before, "new"])


def test_name_whose_lock_file_was_removed_before_locking_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process removes the lock file between its creation and its lock."""
    take, came = temporary_files._take, list[str]()

    def first_taken(handle: int) -> bool | None:
        if not came:
            came.extend(names(tmp_path))
            (tmp_path / came[0]).unlink()
        return take(handle)

    monkeypatch.setattr(temporary_files, "_take", first_taken)
    with temporary_name(tmp_path / "a") as temporary:
        assert names(tmp_path) == [temporary.with_suffix(".lock").name]
        assert names(tmp_path) != came
    assert names(tmp_path) == []


def test_open_handle_is_the_lock_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary, unlink = killed("atomic_file", tmp_path / "rows.csv"), Path.unlink
    running = True

    def in_use(path: Path, missing_ok: bool = False) -> None:
        if running:
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(temporary_files, "fcntl", None)
    monkeypatch.setattr(Path, "unlink", in_use)
    assert remove_leftovers([tmp_path]) == []
    assert temporary.exists()
    running = False
    assert remove_leftovers([tmp_path]) == [temporary]
    assert names(tmp_path) == []


def test_containers_on_a_machine_share_its_stamp_and_another_boot_has_another(tmp_path: Path) -> None:
    def start(boot: str) -> str:
        folder = tmp_path / boot
        (folder / "proc/sys/kernel/random").mkdir(parents=True)
        (folder / "proc/sys/kernel/random/boot_id").write_text(f"{boot}\n")
        return temporary_files._machine(folder)

    assert start("one") != start("two")
    assert temporary_files._machine(tmp_path / "none") == temporary_files._machine(tmp_path / "neither")
