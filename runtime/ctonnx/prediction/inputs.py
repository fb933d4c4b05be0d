"""Image files of paths, folders and globs, in order.

Training, the audit, evaluation and prediction all use this listing, so that they agree on which files are scans.
"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ctonnx.errors import CtonnxError
from ctonnx.images.formats import foreign_kind, is_image, is_text_by_name, looks_like_image
from ctonnx.system.text import Log, counted, escape_control

__all__ = ["HEATMAP_ENDING", "Listing", "find_images", "is_ignored", "is_scan", "list_files", "without_outputs"]

HEATMAP_ENDING = ".heatmap.png"
"""Ending of the names of all heatmaps."""

# Files and folders that Windows, macOS, NAS systems and notebooks create, in lower case; the index of a DICOM medium.
_FILES = re.compile(
    r"thumbs\.db(:encryptable)?|ehthumbs(_vista)?\.db|desktop\.ini|autorun\.inf|icon\r|dicomdir|~\$.*"
    r"|.*@syno(resource|eastream)"
)
_FOLDERS = re.compile(
    r"@eadir|@tmp|@recycle|@recently-snapshot|@__thumb|@sharebin|[#~]snapshot|#recycle|\$recycle\.bin|recycle[rd]"
    r"|system volume information|found\.\d{3}|__macosx|network trash folder|temporary items|thevolumesettingsfolder"
    r"|lost\+found|__pycache__"
)


class Listing(NamedTuple):
    """Paths below a folder, with which they begin, in order: files, and ignored ones: hidden or of systems."""

    files: list[str]
    ignored: list[str]


def find_images(paths: Iterable[str], log: Log = lambda line: None) -> list[str]:
    """Expands files, folders (recursively, sorted by name) and glob patterns (including `**`) to files.

    A file that is named, or that a pattern matches, is kept even if it is missing or damaged: it gets a failure record
    later. Of a folder, all files that are not hidden are listed, so that a scan with a wrong ending is not skipped
    silently; only texts, tables and programs, by their names and first bytes, are skipped, and `log` is called with a
    line that counts them. Files that systems create (`Thumbs.db`, `.DS_Store`) are ignored in folders and by patterns.

    Raises:
        CtonnxError: If a folder contains no image, or a pattern matches nothing.
    """
    found: list[str] = []
    skipped: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            for file in _images_below(path):
                (skipped if is_text_by_name(file) and not is_image(file) else found).append(file)
        elif os.path.lexists(path) or not glob.has_magic(path):
            found.append(path)
        else:
            files: dict[str, None] = {}  # in order and once, as `**` matches a folder and the files in it
            for match in sorted(glob.glob(path, recursive=True)):
                if not _is_ignored_match(match, path):
                    inner = list_files(match).files if os.path.isdir(match) else [match]
                    files.update(dict.fromkeys(map(os.path.normpath, inner)))
            if not files:
                raise CtonnxError(
                    f"expected files that match '{path}', found none (in '{Path.cwd()}'); check the pattern"
                )
            found.extend(files)
    if skipped:
        named = f"{counted(len(skipped), 'other file')} ('{escape_control(skipped[0])}' first)"
        log(f"skipped: {named}, no image by name and content")
    return found


def without_outputs(files: Sequence[str], *, output: Path | None, heatmaps: Path | None) -> list[str]:
    """Returns the files without those that an earlier run of the same command wrote: its rows and heatmaps.

    Files with other endings in the folder of the heatmaps, which a pattern may match, are kept.

    Raises:
        CtonnxError: If no file is left.
    """
    rows = None if output is None else os.path.realpath(output)
    # Links are resolved only if the ending matches, as that takes a while for a hundred thousand files.
    endings = {os.path.splitext(name)[1] for name in (output, rows) if name is not None}
    below = None if heatmaps is None else os.path.join(os.path.realpath(heatmaps), "")

    def is_output(file: str) -> bool:
        if os.path.splitext(file)[1] in endings and os.path.realpath(file) == rows:
            return True
        return below is not None and file.endswith(HEATMAP_ENDING) and os.path.realpath(file).startswith(below)

    left = [file for file in files if not is_output(file)]
    if files and not left:
        raise CtonnxError(
            f"expected images to predict, found only files that this command writes, such as '{files[0]}'; name others"
        )
    return left


def list_files(folder: str | os.PathLike[str]) -> Listing:
    """Lists the files below a folder; links are followed, and each real folder is entered once.

    Raises:
        CtonnxError: If a folder cannot be opened.
    """
    found = Listing([], [])
    top = os.fspath(folder)
    seen = {os.path.realpath(top)}
    for root, folders, files in os.walk(top, followlinks=True, onerror=_reject):
        inner = sorted(folders)
        folders.clear()  # os.walk enters the folders in this list
        for name in inner:
            path = os.path.join(root, name)
            if is_ignored(name, is_folder=True):
                found.ignored.append(path)
            elif (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                folders.append(name)
        for name in sorted(files):
            (found.ignored if is_ignored(name) else found.files).append(os.path.join(root, name))
    return found


def is_ignored(name: str, *, is_folder: bool = False) -> bool:
    """Returns whether a name is that of a hidden file or folder, or of one that systems create.

    >>> is_ignored("Thumbs.db"), is_ignored("@eaDir", is_folder=True), is_ignored("scan.png")
    (True, True, False)
    """
    return name.startswith(".") or bool((_FOLDERS if is_folder else _FILES).fullmatch(name.lower()))


def is_scan(file: str | os.PathLike[str]) -> bool:
    """Returns whether a file has the ending or, with any ending, the first bytes of an image or DICOM file."""
    return looks_like_image(file) or is_image(file)


def _images_below(folder: str) -> list[str]:
    files = list_files(folder).files
    if not any(looks_like_image(file) for file in files) and not any(is_image(file) for file in files):
        found = counted(len(files), "other file") if files else "an empty folder"
        kinds = ((file, foreign_kind(file)) for file in files)
        known = next((f" ('{file}': {kind})" for file, kind in kinds if kind), "")
        raise CtonnxError(
            f"expected images in '{folder}', found {found}{known}; name a folder with PNG, JPEG or TIFF files"
        )
    return files


def _is_ignored_match(match: str, pattern: str) -> bool:
    """Returns whether a match is, or is in, a file or folder that systems create and the pattern does not name.

    Hidden files are decided by the pattern: `*` does not match them, and `.*` does.
    """
    *folders, name = Path(match).parts
    named = Path(pattern).parts
    folders += [name] if os.path.isdir(match) else []
    inside = any(_FOLDERS.fullmatch(part.lower()) and part not in named for part in folders)
    # macOS stores the attributes of the file NAME in ._NAME.
    return inside or name.lower() == ".ds_store" or name.startswith("._") or bool(_FILES.fullmatch(name.lower()))


def _reject(error: OSError) -> None:
    raise CtonnxError(
        f"expected to read every folder, could not open '{error.filename}' ({(error.strerror or '').lower()}); "
        "fix its permissions or name the other folders"
    ) from error
