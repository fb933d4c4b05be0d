"""From the paths, folders and globs on a command line to the files to predict, in a stable order."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ctonnx.errors import CtonnxError
from ctonnx.images import foreign_kind, is_image, looks_like_image

__all__ = ["HEATMAP_ENDING", "find_images", "without_own"]

HEATMAP_ENDING = ".heatmap.png"
"""How the names of all heatmaps end, which are no scans."""

# What Windows and macOS leave in folders, and the index of a DICOM medium.
_LITTER = frozenset({"thumbs.db", "desktop.ini", ".ds_store", "dicomdir"})


def find_images(paths: Iterable[str]) -> list[str]:
    """Expands files, folders (recursively, sorted by name) and glob patterns (`**` too) to files.

    A file that is named stays, whatever it is: a missing or damaged one gets its record later. Of a folder every file
    is taken that is not hidden, so that a scan under a wrong name is not passed over in silence. What systems leave in
    folders (`Thumbs.db`, `.DS_Store`) is passed over in folders and by patterns.

    Raises:
        CtonnxError: a folder holds no image, or a pattern matches nothing.
    """
    found: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found.extend(_images_below(path))
        elif os.path.lexists(path) or not glob.has_magic(path):
            found.append(path)
        else:
            matches = sorted(glob.glob(path, recursive=True))
            files = [file for match in matches for file in (_files_below(match) if os.path.isdir(match) else [match])]
            files = [file for file in files if not _is_litter(Path(file).name)]
            files = list(dict.fromkeys(map(os.path.normpath, files)))  # `**` matches a folder and the files in it
            if not files:
                raise CtonnxError(
                    f"expected files that match '{path}', found none (in '{Path.cwd()}'); check the pattern"
                )
            found.extend(files)
    return found


def without_own(files: Sequence[str], *, output: Path | None, heatmaps: Path | None) -> list[str]:
    """Returns the files without those that an earlier run of the same command wrote.

    Args:
        files: found or named.
        output: the file of rows, which may stand in a folder that is read.
        heatmaps: the folder of heatmaps, which a pattern may reach; files of other endings in it stay.

    Raises:
        CtonnxError: nothing is left.
    """
    rows = None if output is None else os.path.realpath(output)
    # Only what can be meant has its links followed, which takes a while for a hundred thousand files.
    endings = {os.path.splitext(name)[1] for name in (output, rows) if name is not None}
    below = None if heatmaps is None else os.path.join(os.path.realpath(heatmaps), "")

    def is_own(file: str) -> bool:
        if os.path.splitext(file)[1] in endings and os.path.realpath(file) == rows:
            return True
        return below is not None and file.endswith(HEATMAP_ENDING) and os.path.realpath(file).startswith(below)

    left = [file for file in files if not is_own(file)]
    if files and not left:
        raise CtonnxError(
            f"expected images to predict, found none but what this command writes itself, as '{files[0]}'; name others"
        )
    return left


def _images_below(folder: str) -> list[str]:
    files = list(_files_below(folder))
    if not any(looks_like_image(file) for file in files) and not any(is_image(file) for file in files):
        found = f"{len(files)} other file{'s'[: len(files) != 1]}" if files else "an empty folder"
        kinds = ((file, foreign_kind(file)) for file in files)
        known = next((f" ('{file}': {kind})" for file, kind in kinds if kind), "")
        raise CtonnxError(
            f"expected images in '{folder}', found {found}{known}; name a folder with PNG, JPEG or TIFF files"
        )
    return files


def _files_below(folder: str) -> Iterator[str]:
    """Yields the files below a folder, links followed, each real folder once, so that a circle of links ends."""
    seen = {os.path.realpath(folder)}
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        inner = sorted(name for name in folders if not name.startswith("."))
        folders.clear()  # the list tells os.walk where to go on
        for name in inner:
            real = os.path.realpath(os.path.join(root, name))
            if real not in seen:
                seen.add(real)
                folders.append(name)
        for name in sorted(files):
            if not name.startswith(".") and not _is_litter(name):
                yield os.path.join(root, name)


def _is_litter(name: str) -> bool:
    return name.lower() in _LITTER or name.startswith("._")  # macOS's attributes of a file, beside it


def _refuse(error: OSError) -> None:
    raise CtonnxError(
        f"expected to read every folder, could not open '{error.filename}' ({(error.strerror or '').lower()}); "
        "mend its permissions or name the folders beside it"
    ) from error
