"""Results of an uploaded file: one, or one for each frame of a DICOM file with several."""

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
from ctonnx.images.preprocessing import WHOLE, Region, region
from ctonnx.images.scan import Scan
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.cautions import impression_of
from ctonnx.prediction.results import Failure, Prediction, prediction_of
from ctonnx.server.settings import Limits
from ctonnx.server.transport.budgets import PixelBudget

__all__ = ["Decoded", "Frames", "Pictures", "decode_next", "open_frames", "result_document"]

_LONGEST_SCAN = 1024  # pixels; the longer side of the scan in a result
_LONGEST_MAP = 256  # of the heatmap, which has no fine detail: a browser scales it to the scan
_QUICK = 1  # zlib's level: a third of the default's time for 10 % more bytes
_NO_MEMORY = "too large for the memory of this machine; make it smaller"
_NOT_FINITE = "the model's output is not a number"

Frames = Iterator[tuple[int | None, Scan | ImageError]]


class Pictures(NamedTuple):
    """Pictures to include in a result."""

    heatmap: bool = False
    scan: bool = False


class Decoded(NamedTuple):
    """A decoded frame, or its error.

    Attributes:
        frame: Index from 0; None for a file with one image.
        pixels: uint8 [size, size, 3]; None after an error.
        size: Width and height of the scan.
        seen: Part of the scan that the model was given.
        scan: Image for the result, if requested.
        error: Reason why the frame could not be decoded.
        caution: Warning that the prediction may be unreliable.
        mean_grey: Mean grey value, 0 to 255, of the part that the model was given; None if the frame is blank.
    """

    frame: int | None
    pixels: NDArray[np.uint8] | None = None
    size: tuple[int, int] = (0, 0)
    seen: Region = WHOLE
    scan: Image.Image | None = None
    error: str | None = None
    caution: str | None = None
    mean_grey: float | None = None


def open_frames(content: bytes, spec: ModelSpec, limits: Limits) -> Frames:
    """Returns an iterator that decodes a file's frames one by one, for `decode_next`."""
    return load_frames(content, window=spec.dicom_window, most_pixels=limits.pixels, most_frames=limits.files)


def decode_next(frames: Frames, spec: ModelSpec, pictures: Pictures, budget: PixelBudget) -> Decoded | None:
    """Decodes the next frame, or returns None after the last one."""
    try:
        budget.check()
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
    scan = _at_most(found.image, _LONGEST_SCAN) if pictures.scan else None
    seen = region(found.image, spec.preprocessing) if pictures.heatmap else WHOLE
    impression = impression_of(found, pixels, spec.preprocessing)
    caution = impression.caution_of(spec.brightness)
    return Decoded(frame, pixels, found.size, seen, scan, caution=caution, mean_grey=impression.mean_grey)


def result_document(
    index: int,
    name: str | None,
    decoded: Decoded,
    outputs: Outputs | None,
    spec: ModelSpec,
    pictures: Pictures,
    milliseconds: float,
) -> dict[str, Any]:
    """Returns a frame's result for the JSON response.

    `index` and `name` are the file's in its request, `outputs` is one row, or None if the frame could not be decoded.
    """
    named: dict[str, Any] = {"source": "", "frame": decoded.frame, "caution": decoded.caution}
    found = None if outputs is None else prediction_of(spec, outputs, 0, **named)
    record = found or Failure("", decoded.error or _NOT_FINITE, decoded.frame)
    document = {"index": index, **record.as_dict(), "file": name, "milliseconds": round(milliseconds, 1)}
    document["heatmap"] = _map(found, decoded, spec) if found and pictures.heatmap else None
    document["scan"] = _url(decoded.scan) if found and decoded.scan else None
    return document


def _map(prediction: Prediction, decoded: Decoded, spec: ModelSpec) -> str:
    """Returns the heatmap of the predicted class in colours, in the proportions of the scan."""
    from ctonnx.prediction.output.pictures.heatmap_image import colors, overlay_heatmap  # here, as few requests need it

    size = _fitted(decoded.size, _LONGEST_MAP)
    heatmap = prediction.heatmap[spec.classes.index(prediction.label)]
    heat = overlay_heatmap(heatmap, size, spec.preprocessing, decoded.seen)
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
