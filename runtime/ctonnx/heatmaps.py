"""Pictures of where a model looked: the scan, beside it the scan under its class's heatmap, and what colours mean."""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctonnx.images import Preprocessing, load
from ctonnx.inputs import HEATMAP_ENDING
from ctonnx.predictor import Prediction
from ctonnx.spec import ModelSpec
from ctonnx.writing import whole_file

__all__ = ["HeatmapFolder", "colors", "draw", "heatmap_names", "spread"]

_DRAWERS = 2
_PANEL = 512  # pixels; the longer side of each scan as drawn
_MARGIN, _HEADER, _FOOTER, _BAR = 16, 48, 36, 18
_BAR_LABELS = 56
_GROUND, _TEXT, _DIM = (16, 16, 16), (240, 240, 240), (160, 160, 160)
_OPACITY = 0.6  # where the map is at its maximum; at zero the scan shows as it is
# matplotlib's "inferno" (CC0) at nine equal steps: lightness rises evenly, for colour-blind eyes and grey prints too.
_INFERNO = ((0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51), (249, 140, 10),
            (249, 201, 50), (252, 255, 164))  # fmt: skip
_NOTE = "Colour: Grad-CAM of this class, relative to its own maximum. A research tool, not a medical device."


class HeatmapFolder:
    """Draws the heatmaps of predictions into a folder, in threads of its own and laid out as the files are.

    Args:
        folder: made where it misses.
        files: whose predictions may come.
        spec: the model's.

    Raises:
        OSError: from `add` or at the end: a picture cannot be written; the error names it.
    """

    def __init__(self, folder: Path, files: Sequence[str], spec: ModelSpec) -> None:
        self._spec = spec
        self._paths = {file: folder / name for file, name in zip(files, heatmap_names(files), strict=True)}
        self._pool = ThreadPoolExecutor(_DRAWERS, thread_name_prefix="ctonnx-heatmap")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> "HeatmapFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            while error is None and self._pending:
                self._pending.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, prediction: Prediction) -> None:
        """Draws a prediction's heatmap, soon."""
        while len(self._pending) >= 2 * _DRAWERS:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._write, prediction))

    def _write(self, prediction: Prediction) -> None:
        number = "" if prediction.frame is None else f"#{prediction.frame + 1}"
        file = prediction.source.removesuffix(number)
        path = self._paths[file]
        path = path.with_name(path.name.replace(HEATMAP_ENDING, number + HEATMAP_ENDING)) if number else path
        scan = load(file, window=self._spec.dicom_window, frame=prediction.frame or 0)
        picture = draw(scan, prediction, self._spec.classes, self._spec.preprocessing)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            picture.save(temporary, "PNG")


def heatmap_names(files: Sequence[str]) -> list[Path]:
    """Returns for each file a path of its own, laid out as the files are below the folder that holds them all.

    >>> [name.as_posix() for name in heatmap_names(["scans/a/1.png", "scans/b/1.dcm"])]
    ['a/1.png.heatmap.png', 'b/1.dcm.heatmap.png']
    """
    absolute = [Path(file).absolute() for file in files]
    normal = [Path(os.path.normpath(file)) for file in absolute]
    try:
        root = Path(os.path.commonpath([file.parent for file in normal]))
    except ValueError:  # no files, or files on several Windows drives
        return [Path(f"{file.relative_to(file.anchor)}{HEATMAP_ENDING}") for file in normal]
    return [Path(f"{file.relative_to(root)}{HEATMAP_ENDING}") for file in normal]


def draw(
    scan: Image.Image, prediction: Prediction, classes: Sequence[str], preprocessing: Preprocessing
) -> Image.Image:
    """Draws a scan beside itself under the heatmap of its most probable class, with a colour bar.

    Args:
        scan: as `ctonnx.images.load` gives it.
        prediction: the answer for it.
        classes: the model's, in order.
        preprocessing: how the scan became the model's square, so that the map lies where it belongs.

    Returns:
        An RGB picture, 512 pixels a panel.
    """
    scale = _PANEL / max(scan.size)
    size = (max(1, round(scan.width * scale)), max(1, round(scan.height * scale)))
    shown = scan.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    heat = spread(prediction.heatmap[list(classes).index(prediction.label)], size, preprocessing)
    alpha = (_OPACITY * heat)[:, :, None]
    under = np.asarray(shown, np.float32) * (1 - alpha) + colors(heat) * alpha
    mapped = Image.fromarray(np.rint(under).astype(np.uint8))

    right = _MARGIN + size[0] + _MARGIN
    bar = right + size[0] + _MARGIN
    large, small = ImageFont.load_default(22), ImageFont.load_default(13)
    said = {None: "", True: "   suspicious", False: "   not suspicious"}[prediction.suspicious]
    heading = f"{prediction.label}  {prediction.probability:.3f}{said}"
    note = _NOTE if heat.any() else f"Nothing in the scan speaks for this class: the map is empty. {_NOTE}"
    text_width = 2 * _MARGIN + round(max(large.getlength(heading), small.getlength(note)))
    width = max(bar + _BAR + _BAR_LABELS, text_width)
    picture = Image.new("RGB", (width, _HEADER + size[1] + _FOOTER), _GROUND)
    picture.paste(shown, (_MARGIN, _HEADER))
    picture.paste(mapped, (right, _HEADER))
    ramp = np.repeat(np.linspace(1, 0, size[1], dtype=np.float32)[:, None], _BAR, axis=1)
    picture.paste(Image.fromarray(np.rint(colors(ramp)).astype(np.uint8)), (bar, _HEADER))

    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, _HEADER / 2), heading, _TEXT, large, anchor="lm")
    for share, name in ((0.0, "1.0"), (0.5, "0.5"), (1.0, "0.0")):
        pen.text((bar + _BAR + 6, _HEADER + share * (size[1] - 1)), name, _DIM, small, anchor="lm")
    pen.text((_MARGIN, _HEADER + size[1] + _FOOTER / 2), note, _DIM, small, anchor="lm")
    return picture


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
