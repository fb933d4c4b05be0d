"""The one lister of files: from paths, folders and globs on a command line, or a data set's folders, to files in order.

Training, the audit, evaluation and prediction all list files with it, so that none of them takes a file for a scan that
another does not see.
"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ctonnx.errors import CtonnxError
from ctonnx.images.formats import foreign_kind, is_image, looks_like_image
from ctonnx.system.text import counted

__all__ = ["HEATMAP_ENDING", "Listing", "find_images", "is_leaving", "is_scan", "list_files", "without_own"]

HEATMAP_ENDING = ".heatmap.png"
"""How the names of all heatmaps end, which are no scans."""

# What Windows, macOS, NAS systems and notebooks leave in folders, in lower case, and the index of a DICOM medium.
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
    """The files below a folder, in order.

    Attributes:
        files: Paths of the files, beginning as the folder was written.
        leavings: Paths of the hidden files and folders, and of those that systems leave, which are passed over.
    """

    files: list[str]
    leavings: list[str]


def find_images(paths: Iterable[str]) -> list[str]:
    """Expands files, folders (recursively, sorted by name) and glob patterns (`**` too) to files.

    A file that is named stays, whatever it is: a missing or damaged one gets its record later. Of a folder every file
    is taken that is not hidden, so that a scan under a wrong name is not passed over in silence. What systems leave in
    folders (`Thumbs.db`, `.DS_Store`) is passed over in folders and by patterns.

    Raises:
        CtonnxError: A folder holds no image, or a pattern matches nothing.
    """
    found: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found.extend(_images_below(path))
        elif os.path.lexists(path) or not glob.has_magic(path):
            found.append(path)
        else:
            matches = sorted(glob.glob(path, recursive=True))
            matches = [match for match in matches if not _is_in_leavings(match, path)]
            files = [
                file for match in matches for file in (list_files(match).files if os.path.isdir(match) else [match])
            ]
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
        files: Found or named.
        output: The file of rows, which may stand in a folder that is read.
        heatmaps: The folder of heatmaps, which a pattern may reach; files of other endings in it stay.

    Raises:
        CtonnxError: Nothing is left.
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


def list_files(folder: str | os.PathLike[str]) -> Listing:
    """Lists the files below a folder: links are followed, each real folder once, so that a circle of links ends.

    Raises:
        CtonnxError: A folder below it cannot be opened.
    """
    found = Listing([], [])
    top = os.fspath(folder)
    seen = {os.path.realpath(top)}
    for root, folders, files in os.walk(top, followlinks=True, onerror=_refuse):
        inner = sorted(folders)
        folders.clear()  # the list tells os.walk where to go on
        for name in inner:
            path = os.path.join(root, name)
            if is_leaving(name, is_folder=True):
                found.leavings.append(path)
            elif (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                folders.append(name)
        for name in sorted(files):
            (found.leavings if is_leaving(name) else found.files).append(os.path.join(root, name))
    return found


def is_leaving(name: str, *, is_folder: bool = False) -> bool:
    """Returns whether a name is hidden, or that of a file or folder that systems leave.

    >>> is_leaving("Thumbs.db"), is_leaving("@eaDir", is_folder=True), is_leaving("scan.png")
    (True, True, False)
    """
    return name.startswith(".") or bool((_FOLDERS if is_folder else _FILES).fullmatch(name.lower()))


def is_scan(file: str | os.PathLike[str]) -> bool:
    """Returns whether a file has an image's name, or begins as an image or a DICOM file does under whatever name."""
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


def _is_in_leavings(match: str, pattern: str) -> bool:
    """Returns whether a pattern's match is, or lies in, something that systems leave and the pattern does not name.

    Hidden files are left to the pattern: `*` does not match them, and `.*` means them.
    """
    *folders, name = Path(match).parts
    named = Path(pattern).parts
    folders += [name] if os.path.isdir(match) else []
    inside = any(_FOLDERS.fullmatch(part.lower()) and part not in named for part in folders)
    # macOS keeps the attributes of a file beside it, as ._NAME.
    return inside or name.lower() == ".ds_store" or name.startswith("._") or bool(_FILES.fullmatch(name.lower()))


def _refuse(error: OSError) -> None:
    raise CtonnxError(
        f"expected to read every folder, could not open '{error.filename}' ({(error.strerror or '').lower()}); "
        "mend its permissions or name the folders beside it"
    ) from error
