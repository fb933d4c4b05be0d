"""States that a process leaves if it is killed at a rename or removal of a file: copies of its folder at each one.

A killed process does nothing more, so the folder at that moment is all that it leaves. Files are linked, not copied:
files that are written atomically are never changed in place.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["states_at_each_rename"]


@contextmanager
def states_at_each_rename(folder: Path, states: Path) -> Iterator[list[Path]]:
    """Yields a list to which a copy of `folder` is added before and after each rename and removal of a file in it.

    Args:
        folder: Folder to watch.
        states: New folder, on the same disk, for the copies.
    """
    found: list[Path] = []
    states.mkdir()

    def keep() -> None:
        place = states / f"{len(found)}"
        if folder.exists():
            shutil.copytree(folder, place, copy_function=os.link)
        else:
            place.mkdir()
        found.append(place)

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            inside = not options and Path(os.fsdecode(path)).absolute().is_relative_to(folder.absolute())
            if inside:
                keep()
            try:
                return function(path, *arguments, **options)
            finally:
                if inside:
                    keep()

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "replace", "unlink"):
            patch.setattr(os, name, watched(getattr(os, name)))
        yield found
