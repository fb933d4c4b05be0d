"""What a process leaves that is killed when it renames or removes a file: a copy of its folder, made at that moment.

A killed process does nothing more, so that the folder as it stands is all that it leaves. Files are linked, not copied:
what is written whole or not at all is never changed in place.
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
    """Yields a list that grows by what `folder` holds before and after each rename and removal of a file in it.

    Args:
        folder: that is looked at.
        states: a new folder, on the same disk, for the copies.
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
