"""An error of the system while a file or folder is written names what was asked for."""

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.runtime.system.test_files import names

from ctonnx.system.files import atomic_file, atomic_folder


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
@pytest.mark.parametrize("named", ["nothing", "the temporary path", "a file in it"])
def test_error_of_the_system_names_the_target(
    named: str, whole: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    def write() -> None:
        with whole(tmp_path / "new") as temporary:
            places = {"the temporary path": str(temporary), "a file in it": os.fsencode(temporary / "a")}
            raise OSError(errno.ENOSPC, "No space left on device", places.get(named))

    with pytest.raises(OSError, match="No space left on device") as caught:
        write()
    assert caught.value.filename == str(tmp_path / "new")
    assert names(tmp_path) == []


def test_error_of_a_file_in_a_folder_names_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left on device") as caught,
        atomic_folder(tmp_path / "new") as temporary,
        atomic_file(temporary / "report.md"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "new")


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_error_of_another_file_keeps_its_name(
    whole: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError) as caught, whole(tmp_path / "new"):
        (tmp_path / "scan.png").read_bytes()
    assert caught.value.filename == str(tmp_path / "scan.png")


@pytest.mark.parametrize("whole", [atomic_file, atomic_folder])
def test_error_of_the_temporary_name_names_the_target(
    whole: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, *arguments: object, **options: object) -> None:
        if path.suffix == ".part":
            raise OSError(errno.EROFS, "Read-only file system", str(path))

    for name in ("touch", "mkdir"):
        monkeypatch.setattr(Path, name, closed)
    with pytest.raises(OSError, match="Read-only file system") as caught, whole(tmp_path / "new"):
        pytest.fail("the block was entered")
    assert caught.value.filename == str(tmp_path / "new")
