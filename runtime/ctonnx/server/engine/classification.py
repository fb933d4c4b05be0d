"""What is answered for an uploaded file: a result for it, or for each frame of a DICOM file with several."""

import base64
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import ImageError
from ctonnx.images import load_frames, to_pixels
from ctonnx.images.scan import Scan
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.cautions import caution_of
from ctonnx.prediction.results import Failure, Prediction, prediction_of
from ctonnx.server.settings import Limits
from ctonnx.server.transport.budgets import PixelBudget

__all__ = ["Decoded", "Frames", "Wanted", "decode", "frames_of", "result"]


_LONGEST_SCAN = 1024  # pixels; the longer side of the scan in an answer
_LONGEST_MAP = 256  # of the heatmap, which holds no detail: a browser spreads it over the scan
_QUICK = 1  # zlib's level: a third of the time of its default for a tenth more bytes
_NO_MEMORY = "too large for the memory of this machine; make it smaller"
_NO_NUMBER = "the model's answer is not a number"

Frames = Iterator[tuple[int | None, Scan | ImageError]]


class Wanted(NamedTuple):
    """Which pictures an answer holds beside its figures."""

    heatmap: bool = False
    scan: bool = False


class Decoded(NamedTuple):
    """A frame as the model takes it, or what is wrong with it.

    Attributes:
        frame: Counted from 0; None of a file with one image.
        pixels: uint8 [size, size, 3]; None where there is an error.
        size: Width and height of the scan.
        scan: The image, where the answer shows it.
        error: what is wrong.
        caution: why the answer should be doubted.
    """

    frame: int | None
    pixels: NDArray[np.uint8] | None = None
    size: tuple[int, int] = (0, 0)
    scan: Image.Image | None = None
    error: str | None = None
    caution: str | None = None


def frames_of(content: bytes, spec: ModelSpec, limits: Limits) -> Frames:
    """Returns what decodes a file's frames one by one: for `decode`."""
    return load_frames(content, window=spec.dicom_window, most_pixels=limits.pixels, most_frames=limits.files)


def decode(frames: Frames, spec: ModelSpec, wanted: Wanted, budget: PixelBudget) -> Decoded | None:
    """Decodes the next frame, or returns None where there is no more.

    Args:
        frames: of `frames_of`.
        spec: The model's.
        wanted: Whether the scan is kept.
        budget: of the request.
    """
    try:
        budget.refuse_when_spent()
        frame, found = next(frames)
        if isinstance(found, ImageError):
            return Decoded(frame, error=found.reason)
        budget.spend(found.size)
        pixels = to_pixels(found, spec.preprocessing)
    except StopIteration:
        return None
    except ImageError as error:
        return Decoded(None, error=error.reason)
    except MemoryError:
        return Decoded(None, error=_NO_MEMORY)
    scan = _at_most(found.image, _LONGEST_SCAN) if wanted.scan else None
    return Decoded(frame, pixels, found.size, scan, caution=caution_of(found, pixels, spec.preprocessing))


def result(
    index: int,
    name: str | None,
    decoded: Decoded,
    outputs: Outputs | None,
    spec: ModelSpec,
    wanted: Wanted,
    milliseconds: float,
) -> dict[str, Any]:
    """Returns a result as JSON holds it.

    Args:
        index: of the file in its request.
        name: that its client gave it; None where it gave none.
        decoded: The frame.
        outputs: The model's answer for it, one row; None where it could not be decoded.
        spec: The model's.
        wanted: The pictures.
        milliseconds: that the frame took so far.
    """
    named: dict[str, Any] = {"source": "", "frame": decoded.frame, "caution": decoded.caution}
    found = None if outputs is None else prediction_of(spec, outputs, 0, **named)
    record = found or Failure("", decoded.error or _NO_NUMBER, decoded.frame)
    document = {"index": index, **record.as_dict(), "file": name, "milliseconds": round(milliseconds, 1)}
    document["heatmap"] = _map(found, decoded, spec) if found and wanted.heatmap else None
    document["scan"] = _url(decoded.scan) if found and decoded.scan else None
    return document


def _map(prediction: Prediction, decoded: Decoded, spec: ModelSpec) -> str:
    """Returns the heatmap of the most probable class, in colours, as large as the scan but for its scale."""
    from ctonnx.prediction.output.heatmap_image import (  # here, as few requests ask for a picture
        colors,
        overlay_heatmap,
    )

    size = _fitted(decoded.size, _LONGEST_MAP)
    heat = overlay_heatmap(prediction.heatmap[spec.classes.index(prediction.label)], size, spec.preprocessing)
    picture = Image.fromarray(np.rint(heat * 255).astype(np.uint8))
    picture.putpalette(np.rint(colors(np.linspace(0, 1, 256, dtype=np.float32))).astype(np.uint8).tobytes())
    return _url(picture)


def _fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _at_most(image: Image.Image, longest: int) -> Image.Image:
    return image if max(image.size) <= longest else image.resize(_fitted(image.size, longest), Image.Resampling.LANCZOS)


def _url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_QUICK)
    return "data:image/png;base64," + base64.b64encode(file.getbuffer()).decode("ascii")
