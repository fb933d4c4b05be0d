"""A dataset's images, decoded once with the code that prediction uses, and kept in memory up to a limit."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.errors import DataError, ImageError
from ctonnx.images import Preprocessing, load, to_pixels
from ctonnx.images.loading import Origin, load_with_origin
from ctonnx.images.scan import Scan
from ctonnx.prediction.cautions import Impression, brightness_of, impression_of
from ctonnx.system.cpu import available_cores
from ctonnx.system.text import counted
from ctonnx_train.data.sources import Source
from ctonnx_train.data.splits import Sample

__all__ = ["KEPT_BYTES", "Describe", "PixelArray", "PixelStore", "Pixels", "pixel_digest", "unreadable_error"]

Describe: TypeAlias = Callable[[Scan, Origin, NDArray[np.uint8]], Any]
"""Called with a decoded image, its origin, and its pixels as `to_pixels` returns them; from several threads."""

KEPT_BYTES = 8_000_000_000
"""Limit of the decoded images that an evaluation or a recalibration keeps in memory, in bytes."""

_SHOWN = 3
_WAITING = 4


def pixel_digest(image: Image.Image) -> str:
    """Returns the SHA-256 of an image's size and RGB pixels: the same for copies in any lossless file format."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.convert("RGB").tobytes())
    return digest.hexdigest()


def unreadable_error(errors: Sequence[ImageError], images: int) -> DataError:
    """Returns an error that names the first unreadable images."""
    shown = "; ".join(str(error) for error in errors[:_SHOWN]) + ("; ..." if len(errors) > _SHOWN else "")
    verb = "is" if len(errors) == 1 else "are"
    return DataError(
        f"expected {counted(images, 'readable image')}, found {len(errors)} that {verb} not: {shown}; "
        "fix these files or move them out of the data folder"
    )


class Pixels(Protocol):
    """Images ready for the network."""

    def take(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Returns images, uint8 [rows, size, size, channels]."""


class PixelArray:
    """Images ready for the network in one array, [images, size, size, channels].

    Attributes:
        kept: Number of images, all in memory.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels
        self.kept = len(pixels)

    def take(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Returns some of the images."""
        return self._pixels[list(rows)]


class _Decoded(NamedTuple):
    pixels: NDArray[np.uint8]
    digest: str = ""
    impression: Impression | None = None
    description: Any = None


class PixelStore:
    """Images ready for the network, decoded and resized, as bytes in memory up to a limit.

    Every image is decoded once when the store is created, which finds unreadable files before training starts, computes
    the digests, and notes the warnings for which `ctonnx predict` refers an image. Images beyond the limit are decoded
    again each time they are taken.

    A row of the store is an index into its samples. When the store is created, `describe` is called with the images of
    the rows `described`, and `progress` with 1 after each image.

    Attributes:
        digests: `pixel_digest` of each sample's image before resizing, by path.
        impressions: `Impression` of each sample's image, by path.
        descriptions: Results of `describe`, by path.
        kept: Number of images in memory, from the first row on.

    Raises:
        DataError: Images cannot be read.
    """

    def __init__(
        self,
        source: Source,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        *,
        limit: int | None = None,
        describe: Describe | None = None,
        described: Collection[int] = (),
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self.source = source
        self._paths = [sample.path for sample in samples]
        self._preprocessing = preprocessing
        self._channels = 1 if preprocessing.color == "grey" else 3
        shape = (preprocessing.size, preprocessing.size, self._channels)
        self.kept = len(samples) if limit is None else min(len(samples), limit // int(np.prod(shape)))
        self._pixels = np.empty((self.kept, *shape), np.uint8)
        self.digests: dict[str, str] = {}
        self.impressions: dict[str, Impression] = {}
        self.descriptions: dict[str, Any] = {}
        errors: list[ImageError] = []
        self._describe, self._described = describe, frozenset(described)
        for row, result in enumerate(self._decode(range(len(samples)), first=True)):
            if isinstance(result, ImageError):
                errors.append(result)
            else:
                path = self._paths[row]
                self.digests[path] = result.digest
                if result.impression is not None:
                    self.impressions[path] = result.impression
                if row in self._described:
                    self.descriptions[path] = result.description
                if row < self.kept:
                    self._pixels[row] = result.pixels
            if progress:
                progress(1)
        if errors:
            raise unreadable_error(errors, len(samples))

    def __len__(self) -> int:
        return len(self._paths)

    def cautions(self, samples: Sequence[Sample], brightness: BrightnessRange | None) -> list[str | None]:
        """Returns the warning for which a model with this range refers each sample's image, or None."""
        return [self.impressions[sample.path].caution_of(brightness) for sample in samples]

    def brightness(self, samples: Sequence[Sample]) -> BrightnessRange | None:
        """Returns the range of the samples' images without a warning of their own; None if all have one."""
        return brightness_of([self.impressions[sample.path] for sample in samples])

    def take(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Returns images, uint8 [rows, size, size, channels]: one channel for grey preprocessing, else three.

        Raises:
            DataError: An image beyond the limit can no longer be read.
        """
        if max(rows, default=0) < self.kept:
            return self._pixels[list(rows)]
        pixels = np.empty((len(rows), *self._pixels.shape[1:]), np.uint8)
        inside = [place for place, row in enumerate(rows) if row < self.kept]
        outside = [place for place, row in enumerate(rows) if row >= self.kept]
        pixels[inside] = self._pixels[[rows[place] for place in inside]]
        for place, result in zip(outside, self._decode([rows[place] for place in outside]), strict=True):
            if isinstance(result, ImageError):
                raise unreadable_error([result], len(self))
            pixels[place] = result.pixels
        return pixels

    def _decode(self, rows: Sequence[int], *, first: bool = False) -> Iterator[_Decoded | ImageError]:
        def one(row: int) -> _Decoded | ImageError:
            file = self.source.image(self._paths[row])
            describe = self._describe if first and row in self._described else None
            try:
                scan, origin = (load(file), None) if describe is None else load_with_origin(file)
            except ImageError as error:
                return error
            pixels = to_pixels(scan, self._preprocessing)
            kept = pixels[:, :, : self._channels]
            if not first:
                return _Decoded(kept)
            description = None if describe is None or origin is None else describe(scan, origin, pixels)
            impression = impression_of(scan, pixels, self._preprocessing)
            return _Decoded(kept, pixel_digest(scan.image), impression, description)

        # More threads than cores, as some wait for files from a network.
        with ThreadPoolExecutor(available_cores() + _WAITING, "ctonnx-decode") as pool:
            yield from pool.map(one, rows)
