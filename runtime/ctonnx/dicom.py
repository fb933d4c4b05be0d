"""DICOM files as 8-bit images, by pydicom: CT in Hounsfield units through the model's window, others through their own.

| object | rule |
| --- | --- |
| CT, or a rescale type of HU | modality LUT or rescale, then the model's window |
| other grey images | modality LUT or rescale, then their own first window, else their own VOI LUT |
| other grey images with neither | 8 bits as they are; of more, and of floats, the minimum..maximum becomes 0..255 |
| `MONOCHROME1` | inverted after that |
| pixel padding | black |
| `RGB`, `YBR_*`, `PALETTE COLOR` | RGB; of 16 bits or more the full range becomes 0..255 |
| segmentations, dose grids, and whatever has no pixels | not an image: an error |

Nothing that a file holds beyond its pixels, its kind and its compression comes out of this module: pydicom quotes the
values of elements, patients' names among them, in its warnings and exceptions, so that none of these are passed on.

Sources: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html (LUTs and windows),
https://pydicom.github.io/pydicom/stable/reference/pixels.html
"""

import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, CTImageStorage, DeflatedExplicitVRLittleEndian, EnhancedCTImageStorage

from ctonnx.errors import ImageError
from ctonnx.spec import DicomWindow

__all__ = ["DicomFile", "linear_window"]

_NO_PICTURE = frozenset({"SEG", "RTDOSE"})  # modalities whose pixels are labels or doses
_MOST_INFLATED = 1 << 29  # bytes of a deflated data set
_LEAST_FRAME = 8  # bytes of a compressed one: the head of its item
# warnings.catch_warnings changes a process's filters, and files are read in several threads.
_reading = threading.Lock()


class DicomFile:
    """An open DICOM file.

    Args:
        file: at its beginning; it stays the caller's to close.
        size: of the file, in bytes.
        name: what errors call it.
        window: for CT.

    Attributes:
        frames: how many pictures it holds.

    Raises:
        ImageError: it is damaged, holds no picture, is too large, or is compressed in a way that is not read here.
    """

    def __init__(self, file: BinaryIO, size: int, name: str, window: DicomWindow) -> None:
        self._file = file
        self._name = name
        self._window = window
        with self._quietly():
            self._refuse_bomb(size)
            file.seek(0)
            self._header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            self._refuse_what_is_no_picture()
            self.frames = self._count(size)

    def image(self, frame: int) -> Image.Image:
        """Returns a frame, counted from 0, as an image of mode `L` or `RGB`.

        Raises:
            ImageError: it cannot be decoded, or there is no such frame.
        """
        if not 0 <= frame < self.frames:
            raise ImageError(f"expected a frame from 0 to {self.frames - 1}, found {frame}", self._name)
        with self._quietly():
            self._file.seek(0)
            # Of several frames the one alone is read, from its place in the file.
            alone = self.frames > 1 and self._syntax != DeflatedExplicitVRLittleEndian
            source = self._file if alone else pydicom.dcmread(self._file, force=True)
            try:
                stored = pixel_array(source, index=frame)
            except RuntimeError:  # of the decoders, each of which was tried
                raise ImageError(
                    f"damaged DICOM file, or a variant of {self._syntax.name} that no installed decoder reads",
                    self._name,
                ) from None
            if stored.ndim == 3 or self._header.PhotometricInterpretation == "PALETTE COLOR":
                return self._colored(stored)
            return Image.fromarray(self._grey(stored, frame))

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Lets out nothing that pydicom says: only an ImageError in words of ours."""
        log = logging.getLogger("pydicom")
        with _reading, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            was, log.disabled = log.disabled, True
            try:
                yield
            except ImageError:
                raise
            # Damaged files make pydicom and its decoders raise whatever Python has.
            except Exception:
                raise ImageError("damaged DICOM file", self._name) from None
            finally:
                log.disabled = was

    def _refuse_bomb(self, size: int) -> None:
        """Looks how large a deflated data set is, which pydicom inflates as a whole."""
        head = self._file.read(1024)
        if DeflatedExplicitVRLittleEndian.encode() not in head:
            return
        begin = 144 + int.from_bytes(head[140:144], "little")  # behind the file meta group, whose first element tells
        self._file.seek(begin)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        if head[132:136] != b"\x02\0\0\0" or begin > size:
            raise ImageError("damaged DICOM file", self._name)
        if len(inflater.decompress(self._file.read(), _MOST_INFLATED + 1)) > _MOST_INFLATED:
            raise ImageError(f"too large to decode safely: it inflates to more than {_MOST_INFLATED} bytes", self._name)

    def _refuse_what_is_no_picture(self) -> None:
        header = self._header
        kind = UID(str(header.get("SOPClassUID", "")))
        title = kind.name if kind.is_valid and kind.name != kind else "object"
        if "Rows" not in header or "Columns" not in header:
            known = "SOPClassUID" in header or "Modality" in header
            raise ImageError(f"a DICOM {title} without pixels" if known else "not a DICOM file", self._name)
        if header.get("Modality") in _NO_PICTURE:
            raise ImageError(f"a DICOM {title}, whose pixels are no picture", self._name)
        rows, columns, samples = int(header.Rows), int(header.Columns), int(header.get("SamplesPerPixel", 1))
        if 0 in (rows, columns):
            raise ImageError(f"the image has no pixels: {columns} x {rows}", self._name)
        if Image.MAX_IMAGE_PIXELS and rows * columns * max(1, samples // 3) > 2 * Image.MAX_IMAGE_PIXELS:
            raise ImageError(f"too large to decode safely: {columns} x {rows} pixels", self._name)
        self._syntax = syntax = UID(str(header.file_meta.get("TransferSyntaxUID", "")))
        if not syntax:
            raise ImageError("a DICOM file that does not say how it is encoded (no transfer syntax)", self._name)
        try:
            is_read = get_decoder(syntax).is_available
        except NotImplementedError:
            is_read = False
        if not is_read:
            how = f"as {syntax.name}" if syntax.is_valid and syntax.name != syntax else "in an unknown way"
            raise ImageError(f"a DICOM file compressed {how}, which no installed decoder reads", self._name)

    def _count(self, size: int) -> int:
        """Returns the number of frames, which a damaged header may put in the millions."""
        header = self._header
        frames = max(1, int(header.get("NumberOfFrames") or 1))
        least = _LEAST_FRAME
        if not self._syntax.is_compressed and self._syntax != DeflatedExplicitVRLittleEndian:
            bits = int(header.Rows) * int(header.Columns) * int(header.SamplesPerPixel) * int(header.BitsAllocated)
            least = max(1, bits // 8)
        if frames > 1 and frames * least > size:
            raise ImageError(f"damaged DICOM file: its bytes cannot hold {frames} frames", self._name)
        return frames

    def _colored(self, stored: NDArray[Any]) -> Image.Image:
        header = self._header
        if header.PhotometricInterpretation == "PALETTE COLOR":
            stored = apply_color_lut(stored, header)
        if stored.dtype != np.uint8:
            most = np.iinfo(stored.dtype).max
            stored = np.rint(stored * (255 / most)).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(stored[:, :, :3]))

    def _grey(self, stored: NDArray[Any], frame: int) -> NDArray[np.uint8]:
        header = self._header
        transform = self._functional("PixelValueTransformationSequence", frame)
        values = np.asarray(apply_modality_lut(stored, transform), np.float64)
        is_ct = header.get("SOPClassUID") in (CTImageStorage, EnhancedCTImageStorage) or (
            header.get("Modality") == "CT" and "RescaleIntercept" in transform
        )
        padding = self._padding(stored)
        if is_ct or transform.get("RescaleType") == "HU":
            grey = linear_window(values, self._window.center, self._window.width)
        else:
            grey = self._own_range(values, stored, padding, frame)
        if header.PhotometricInterpretation == "MONOCHROME1":
            grey = np.subtract(255, grey, dtype=np.uint8)
        grey[padding] = 0
        return grey

    def _own_range(
        self, values: NDArray[np.float64], stored: NDArray[Any], padding: NDArray[np.bool_], frame: int
    ) -> NDArray[np.uint8]:
        voi = self._functional("FrameVOILUTSequence", frame)
        if "WindowCenter" in voi and "WindowWidth" in voi:
            center, width = (
                float(np.atleast_1d(np.asarray(voi[name].value, float))[0]) for name in ("WindowCenter", "WindowWidth")
            )
            return linear_window(values, center, width)
        if voi.get("VOILUTSequence"):
            bits = int(voi.VOILUTSequence[0].LUTDescriptor[2])
            looked_up = np.asarray(apply_voi_lut(values.astype(stored.dtype), voi), np.float64)
            scaled: NDArray[np.uint8] = np.rint(np.clip(looked_up * (255 / (2**bits - 1)), 0, 255)).astype(np.uint8)
            return scaled
        if stored.dtype == np.uint8 and np.array_equal(values, stored):
            return stored.copy()
        seen = values[np.isfinite(values) & ~padding]
        low, high = (seen.min(), seen.max()) if seen.size else (0.0, 0.0)
        scale = 255 / (high - low) if high > low else 0.0
        finite = np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high)
        stretched: NDArray[np.uint8] = np.rint((finite - low) * scale).astype(np.uint8)
        return stretched

    def _padding(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        header = self._header
        if stored.dtype.kind not in "iu" or not isinstance(first := header.get("PixelPaddingValue"), int):
            return np.zeros(stored.shape, bool)
        last = header.get("PixelPaddingRangeLimit", first)
        # Some writers give a signed value as an unsigned one.
        low, high = sorted(int(np.array(value).astype(stored.dtype)) for value in (first, last))
        return np.asarray((stored >= low) & (stored <= high))

    def _functional(self, name: str, frame: int) -> pydicom.Dataset:
        """Returns where a frame's transform stands: in a group of its own, in the frames' shared group, or above."""
        shared = self._header.get("SharedFunctionalGroupsSequence") or []
        own = (self._header.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
        for group in (*own, *shared):
            if found := group.get(name):
                inner: pydicom.Dataset = found[0]
                return inner
        return self._header


def linear_window(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.uint8]:
    """Returns values through a window, 0 to 255, rounded.

    Source: DICOM PS3.3, C.11.2.1.2.1: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.2.html

    >>> linear_window(np.array([-1350.0, -600.5, 150.0]), -600, 1500)
    array([  0, 128, 255], dtype=uint8)
    """
    share = (values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5
    return np.rint(np.clip(np.nan_to_num(share), 0, 1) * 255).astype(np.uint8)
