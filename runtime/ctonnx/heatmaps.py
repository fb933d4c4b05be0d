"""Pictures of where a model looked: the scan, beside it the scan under its class's heatmap, and what colours mean."""

import errno
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from threading import Semaphore
from types import TracebackType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctonnx.formats import one_line
from ctonnx.images import Preprocessing
from ctonnx.inputs import HEATMAP_ENDING
from ctonnx.predictor import Failure, Prediction
from ctonnx.spec import ModelSpec
from ctonnx.writing import whole_file

__all__ = ["HeatmapFolder", "colors", "common_root", "draw", "heatmap_name", "spread"]

_DRAWERS = 2
_LONGEST = 255  # bytes of a name, on the file systems in use
_NO_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})  # after which no other picture can be written either
_PANEL = 512  # pixels; the longer side of each scan as drawn
_SMALLEST = 256  # of a panel, whose scan may be a strip: it stands in the middle
_MARGIN, _HEADER, _BAR = 16, 112, 18
_BAR_LABELS = 56
_LINE = 18  # of small words
_GROUND, _PANEL_GROUND, _TEXT, _DIM = (16, 16, 16), (32, 32, 32), (240, 240, 240), (170, 170, 170)
_OPACITY = 0.6  # where the map is at its maximum; at zero the scan shows as it is
# matplotlib's "inferno" (CC0) at nine equal steps: lightness rises evenly, for colour-blind eyes and grey prints too.
_INFERNO = ((0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51), (249, 140, 10),
            (249, 201, 50), (252, 255, 164))  # fmt: skip
_MOST_DIGITS = 9  # between a score and its threshold; float32 tells no more apart


class HeatmapFolder:
    """Draws the heatmaps of predictions into a folder, in threads of its own and laid out as the files are.

    Give `watch` to `Predictor.predict_many`: each picture is drawn from the image that was decoded for the model, of
    which no more is kept than is drawn. What an earlier run drew of an image that this one looks at and does not draw
    is removed, as it would pass for this run's answer: of those that are not suspicious, and of failures that `remove`
    is told of.

    Args:
        folder: made where it misses.
        files: whose predictions may come.
        spec: the model's.
        suspicious_only: whether suspicious images alone are drawn.

    Attributes:
        failures: what could not be drawn, and why; complete when the block has ended.

    Raises:
        OSError: at once, from `watch` or at the end: the folder cannot be made, cannot be written to or is full.
    """

    def __init__(self, folder: Path, files: Iterable[str], spec: ModelSpec, *, suspicious_only: bool = False) -> None:
        self._folder, self._root, self._spec, self._suspicious_only = folder, common_root(files), spec, suspicious_only
        _refuse_unwritable(folder)
        self.failures: list[tuple[str, str]] = []
        self._pool = ThreadPoolExecutor(_DRAWERS, thread_name_prefix="ctonnx-heatmap")
        self._room = Semaphore(2 * _DRAWERS)
        self._broken: OSError | None = None
        self._earlier: dict[Path, dict[str, list[int]]] = {}

    def __enter__(self) -> "HeatmapFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None and self._broken is not None:
            raise self._broken

    def watch(self, scan: Image.Image) -> Callable[[Prediction], None]:
        """Returns what draws a scan's heatmap, soon."""
        return partial(self._add, _fitted(scan))

    def _add(self, scan: Image.Image, prediction: Prediction) -> None:
        if self._suspicious_only and not prediction.suspicious:
            self._remove(prediction.source, prediction.frame)
            return
        self._room.acquire()  # a cancelled one gives its room back too
        if self._broken is not None:
            self._room.release()
            raise self._broken
        self._pool.submit(self._draw, scan, prediction).add_done_callback(lambda _: self._room.release())

    def remove(self, failure: Failure) -> None:
        """Removes what an earlier run drew of an image that has no answer now: of a file, each frame."""
        self._remove(failure.source, failure.frame)
        if failure.frame is not None:
            return
        whole = self._path(failure.source, None)
        if whole.parent not in self._earlier:  # once, as there may be thousands of failures
            self._earlier[whole.parent] = _frames_drawn(whole.parent)
        for frame in self._earlier[whole.parent].pop(whole.name.removesuffix(HEATMAP_ENDING), ()):
            if not os.path.lexists(f"{failure.source}#{frame + 1}"):  # which is an image of its own
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

    def _draw(self, scan: Image.Image, prediction: Prediction) -> None:
        # One picture that fails is no reason to lose all answers.
        try:
            path = self._path(prediction.source, prediction.frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as temporary:
                draw(scan, prediction, self._spec).save(temporary, "PNG")
        except OSError as error:
            if error.errno in _NO_MORE:
                self._broken = error
            named = f": '{error.filename}'" if error.filename else ""
            self._fail(prediction, f"{error.strerror or error}{named}")
        except Exception as error:
            self._fail(prediction, str(error) or type(error).__name__)

    def _fail(self, prediction: Prediction, reason: str) -> None:
        self.failures.append((prediction.source, reason))
        if self._broken is None:
            self._remove(prediction.source, prediction.frame)


def _frames_drawn(folder: Path) -> dict[str, list[int]]:
    """Returns for each file the frames, counted from 0, that there are pictures of."""
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


def _refuse_unwritable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(folder)
        raise


def common_root(files: Iterable[str]) -> str:
    """Returns the folder that holds all files, or nothing where there is none: of no files, or on several drives.

    >>> Path(common_root(["scans/a/1.png", "scans/b/1.dcm"])) == Path("scans").absolute()
    True
    """
    folders = {os.path.split(_normal(file))[0] for file in files}
    try:
        return os.path.commonpath(folders)
    except ValueError:
        return ""


def heatmap_name(source: str, root: str, *, frame: int | None = None) -> Path:
    """Returns a path of its own for a prediction's heatmap, laid out as the files are below their root.

    What would be too long for a file system is cut, and ends in a mark made from the whole name.

    Args:
        source: the prediction's.
        root: of all the files (`common_root`).
        frame: the prediction's.

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


def draw(scan: Image.Image, prediction: Prediction, spec: ModelSpec) -> Image.Image:
    """Draws a scan beside itself under the heatmap of its most probable class, with a colour bar and what it is of.

    Args:
        scan: as `ctonnx.images.load` gives it.
        prediction: the answer for it.
        spec: the model's.

    Returns:
        An RGB picture, 256 to 512 pixels a panel.
    """
    size = _panel(scan)
    shown = scan.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    heat = spread(prediction.heatmap[spec.classes.index(prediction.label)], size, spec.preprocessing)
    alpha = (_OPACITY * heat)[:, :, None]
    under = np.asarray(shown, np.float32) * (1 - alpha) + colors(heat) * alpha
    mapped = Image.fromarray(np.rint(under).astype(np.uint8))

    across, down = (max(_SMALLEST, side) for side in size)
    right = _MARGIN + across + _MARGIN
    bar = right + across + _MARGIN
    large, middle, small = (ImageFont.load_default(points) for points in (22, 16, 13))
    heading = _plain(f"{prediction.label}  {prediction.probability:.4f}")
    width = max(bar + _BAR + _BAR_LABELS, 2 * _MARGIN + round(large.getlength(heading)))
    room = width - 2 * _MARGIN
    notes = _wrapped(_plain(_notes(prediction, spec, empty=not heat.any())), small, room)
    picture = Image.new("RGB", (width, _HEADER + down + _LINE * (len(notes) + 1)), _GROUND)
    for panel, left in ((shown, _MARGIN), (mapped, right)):
        picture.paste(_PANEL_GROUND, (left, _HEADER, left + across, _HEADER + down))
        picture.paste(panel, (left + (across - size[0]) // 2, _HEADER + (down - size[1]) // 2))
    ramp = np.repeat(np.linspace(1, 0, down, dtype=np.float32)[:, None], _BAR, axis=1)
    picture.paste(Image.fromarray(np.rint(colors(ramp)).astype(np.uint8)), (bar, _HEADER))

    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, 24), heading, _TEXT, large, anchor="lm")
    pen.text((_MARGIN, 51), _called(prediction, spec), _TEXT, middle, anchor="lm")
    pen.text((_MARGIN, 74), _cut(_plain(f"File: {_named(prediction)}"), small, room), _DIM, small, anchor="lm")
    pen.text((_MARGIN, 93), _cut(_plain(f"Model: {_model(spec)}"), small, room), _DIM, small, anchor="lm")
    for share, name in ((0.0, "1.0"), (0.5, "0.5"), (1.0, "0.0")):
        pen.text((bar + _BAR + 6, _HEADER + share * (down - 1)), name, _DIM, small, anchor="lm")
    for number, note in enumerate(notes):
        pen.text((_MARGIN, _HEADER + down + _LINE * (number + 1)), note, _DIM, small, anchor="lm")
    return picture


def _called(prediction: Prediction, spec: ModelSpec) -> str:
    """Returns what the model calls the scan, and the two numbers that say why, with digits that tell them apart."""
    if spec.operating_point is None or prediction.score is None:
        return "This model calls no scan suspicious"
    score, threshold = prediction.score, spec.operating_point.threshold
    digits = 4
    while digits < _MOST_DIGITS and score != threshold and f"{score:.{digits}f}" == f"{threshold:.{digits}f}":
        digits += 1
    called = "Suspicious" if prediction.suspicious else "Not suspicious"
    return f"{called}: score {score:.{digits}f}, called suspicious from {threshold:.{digits}f}"


def _named(prediction: Prediction) -> str:
    if prediction.frame is None:
        return prediction.source
    return f"{prediction.source.removesuffix(f'#{prediction.frame + 1}')}, frame {prediction.frame + 1}"


def _model(spec: ModelSpec) -> str:
    trained = f", trained {spec.created[:10]}" if spec.created else ""
    return f"{spec.name}, {spec.precision}{trained}, checkpoint {spec.checkpoint_sha256[:12]}"


def _notes(prediction: Prediction, spec: ModelSpec, *, empty: bool) -> str:
    rows, columns = prediction.heatmap.shape[1:]
    nothing = f"Nothing in the scan speaks for {prediction.label}: the map is empty. " if empty else ""
    score = ""
    if point := spec.operating_point:
        named = " + ".join(point.positive)
        score = f"Score: the probability of {named}. "
    return (
        f"{nothing}Colour: what spoke for {prediction.label} (Grad-CAM), relative to its own maximum. The map is "
        f"coarse: {rows} x {columns} cells, drawn smoothly; nothing smaller than a cell is told apart. {score}"
        "A research tool, not a medical device."
    )


def _plain(text: str) -> str:
    """Escapes what Pillow's own font has no glyphs for: all but ASCII."""
    return one_line(text).encode("ascii", errors="backslashreplace").decode("ascii")


_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _wrapped(text: str, font: _Font, room: int) -> list[str]:
    """Returns lines that have room."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _cut(text: str, font: _Font, room: int) -> str:
    """Returns a text of which the end, where a file has its name, has room."""
    head, _, tail = text.partition(" ")
    dots = ""
    while tail and font.getlength(f"{head} {dots}{tail}") > room:
        dots, tail = "...", tail[1:]
    return f"{head} {dots}{tail}"


def _panel(scan: Image.Image) -> tuple[int, int]:
    scale = _PANEL / max(scan.size)
    return max(1, round(scan.width * scale)), max(1, round(scan.height * scale))


def _fitted(scan: Image.Image) -> Image.Image:
    """Returns no more of a scan than is drawn: the same picture comes of it."""
    return scan if max(scan.size) <= _PANEL else scan.resize(_panel(scan), Image.Resampling.LANCZOS)


def spread(heatmap: NDArray[np.float32], size: tuple[int, int], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Lays a class's heatmap over its scan.

    Args:
        heatmap: [cells, cells], at least 0.
        size: width and height of the scan, in pixels.
        preprocessing: how the scan became the model's square.

    Returns:
        float32 [height, width], 0 to 1, relative to the heatmap's maximum; all 0 where the heatmap is.
    """
    width, height = size
    peak = float(heatmap.max())
    relative = np.clip(heatmap / peak, 0, 1).astype(np.float32) if peak > 0 else np.zeros_like(heatmap, np.float32)
    square = Image.fromarray(relative)
    if preprocessing.resize == "stretch":
        laid = square.resize(size, Image.Resampling.BICUBIC)
    else:  # the scan stands in the middle of a square as wide as its longer side
        side = max(size)
        left, top = (side - width) // 2, (side - height) // 2
        laid = square.resize((side, side), Image.Resampling.BICUBIC).crop((left, top, left + width, top + height))
    return np.clip(np.asarray(laid, np.float32), 0, 1)


def colors(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns colours for values of 0 to 1: float32 [..., 3], RGB, 0 to 255."""
    steps = np.linspace(0, 1, len(_INFERNO))
    channels = [np.interp(values, steps, [color[channel] for color in _INFERNO]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)
