"""Folder of heatmap pictures: one for each prediction, in the layout of the files, and none of an earlier run."""

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from PIL import Image

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images.preprocessing import Region, region
from ctonnx.prediction.inputs import HEATMAP_ENDING
from ctonnx.prediction.output.pictures.heatmap_image import draw, fitted, save
from ctonnx.prediction.results import Failure, Prediction, Record
from ctonnx.system.files import atomic_file, made_folders

__all__ = ["HeatmapFolder", "common_root", "heatmap_name"]

_LONGEST = 255  # bytes of a file name, on common file systems
_NO_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})  # no other picture can be written either


class HeatmapFolder:
    """Draws the heatmaps of predictions into a folder, in the layout of the files.

    Pass `watch` to `Predictor.predict_many`: each picture is drawn from the image that was decoded for the model, in
    the decoding thread, so that several are drawn at a time, and exists before its prediction is yielded. Images are
    kept at the size at which they are drawn. Pictures of an earlier run are removed if this run predicts the image and
    draws none, as they could be mistaken for this run's: if it is negative and only others are drawn, and for failures
    passed to `remove`.

    Args:
        folder: Folder of the pictures; created if missing, and removed if the block raises an error and it is empty.
        files: Paths of all images that may be predicted.
        spec: Spec of the model.
        suspicious_only: Whether only images that are positive or referred are drawn.

    Attributes:
        failures: Source and reason of each picture that could not be drawn; complete after the block.

    Raises:
        OSError: If the folder cannot be made or written to, or the disk is full: at once, from `watch` or at the end.
    """

    def __init__(self, folder: Path, files: Iterable[str], spec: ModelSpec, *, suspicious_only: bool = False) -> None:
        self._folder, self._root, self._spec, self._suspicious_only = folder, common_root(files), spec, suspicious_only
        self.failures: list[tuple[str, str]] = []
        self._undrawn: set[tuple[str, int | None]] = set()
        self._broken: OSError | None = None
        self._earlier: dict[Path, dict[str, list[int]]] = {}
        with ExitStack() as stack:
            stack.enter_context(made_folders(folder))
            try:
                TemporaryFile(dir=folder).close()
            except OSError as error:
                error.filename = str(folder)
                raise
            self._made = stack.pop_all()

    def __enter__(self) -> "HeatmapFolder":
        return self

    def __exit__(self, *error: Any) -> None:
        self._made.__exit__(*error)
        if error == (None, None, None) and self._broken is not None:
            raise self._broken

    def watch(self, scan: Image.Image) -> Callable[[Prediction], None]:
        """Returns a function that draws the heatmap of a scan's prediction."""
        return partial(self._draw, fitted(scan), region(scan, self._spec.preprocessing))

    def picture(self, record: Record) -> Path | None:
        """Returns the path of a record's picture, or None if it has none."""
        if isinstance(record, Failure) or (record.source, record.frame) in self._undrawn:
            return None
        is_left_out = self._suspicious_only and record.decision == "negative"
        return None if is_left_out else self._path(record.source, record.frame)

    def remove(self, failure: Failure) -> None:
        """Removes the pictures that an earlier run drew of a failed image: for a file, those of all frames."""
        self._remove(failure.source, failure.frame)
        if failure.frame is not None:
            return
        whole = self._path(failure.source, None)
        if whole.parent not in self._earlier:  # each folder is listed once, as there may be thousands of failures
            self._earlier[whole.parent] = _frames_drawn(whole.parent)
        for frame in self._earlier[whole.parent].pop(whole.name.removesuffix(HEATMAP_ENDING), ()):
            if not os.path.lexists(f"{failure.source}#{frame + 1}"):  # a file of that name has a picture of its own
                self._remove(f"{failure.source}#{frame + 1}", frame)

    def _path(self, source: str, frame: int | None) -> Path:
        return self._folder / heatmap_name(source, self._root, frame=frame)

    def _remove(self, source: str, frame: int | None) -> None:
        path = self._path(source, frame)
        try:
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
        except OSError as error:
            self.failures.append((source, f"an earlier picture stays ({error.strerror or error}: '{path}')"))

    def _draw(self, scan: Image.Image, seen: Region, prediction: Prediction) -> None:
        if self._suspicious_only and prediction.decision == "negative":
            self._remove(prediction.source, prediction.frame)
            return
        if self._broken is not None:  # in another thread
            raise self._broken
        try:  # a picture that cannot be drawn must not end the whole run
            path = self._path(prediction.source, prediction.frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary:
                save(draw(scan, prediction, self._spec, seen), temporary)
        except OSError as error:
            if error.errno in _NO_MORE:
                self._broken = error
                raise
            named = f": '{error.filename}'" if error.filename else ""
            self._fail(prediction, f"{error.strerror or error}{named}")
        except Exception as error:
            self._fail(prediction, str(error) or type(error).__name__)

    def _fail(self, prediction: Prediction, reason: str) -> None:
        self.failures.append((prediction.source, reason))
        self._undrawn.add((prediction.source, prediction.frame))
        self._remove(prediction.source, prediction.frame)


def _frames_drawn(folder: Path) -> dict[str, list[int]]:
    """Returns the frames, from 0, of each file that have a picture."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    found: dict[str, list[int]] = {}
    for name in names:
        file, _, number = name.removesuffix(HEATMAP_ENDING).rpartition("#")
        if name.endswith(HEATMAP_ENDING) and file and number.isascii() and number.isdecimal() and number[0] != "0":
            found.setdefault(file, []).append(int(number) - 1)
    return found


def common_root(files: Iterable[str]) -> str:
    """Returns the folder that contains all files; empty if there is none: without files, or on several drives.

    >>> Path(common_root(["scans/a/1.png", "scans/b/1.dcm"])) == Path("scans").absolute()
    True
    """
    folders = {os.path.split(_normal(file))[0] for file in files}
    try:
        return os.path.commonpath(folders)
    except ValueError:
        return ""


def heatmap_name(source: str, root: str, *, frame: int | None = None) -> Path:
    """Returns a unique relative path for a prediction's heatmap, in the layout of the files below their root.

    A name that is too long for file systems is cut, and ends in a hash of the full name. The root is `common_root`'s.

    >>> root = common_root(["scans/a/1.png", "scans/b/1.dcm"])
    >>> heatmap_name("scans/a/1.png", root).as_posix(), heatmap_name("scans/b/1.dcm#2", root, frame=1).as_posix()
    ('a/1.png.heatmap.png', 'b/1.dcm#2.heatmap.png')
    """
    ending = HEATMAP_ENDING if frame is None else f"#{frame + 1}{HEATMAP_ENDING}"
    file = Path(_normal(source.removesuffix(ending.removesuffix(HEATMAP_ENDING))))
    below = file.relative_to(root) if root else Path(file.drive.strip("\\:").replace("\\", "_"), *file.parts[1:])
    return below.with_name(_short(below.name, ending))


def _normal(file: str) -> str:
    return os.path.normpath(Path(file).absolute())


def _short(name: str, ending: str) -> str:
    if len(os.fsencode(name + ending)) <= _LONGEST:
        return name + ending
    ending = f"~{sha256(os.fsencode(name)).hexdigest()[:16]}{ending}"
    while len(os.fsencode(name + ending)) > _LONGEST:
        name = name[:-1]
    return name + ending
