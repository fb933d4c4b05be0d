"""DICOM files as 8-bit images, by pydicom: CT in Hounsfield units through the model's window, others through their own.

| object | rule |
| --- | --- |
| values in Hounsfield units (`ctonnx.images.dicom.hounsfield`) | modality LUT or rescale, then the model's window |
| CT Image Storage with neither LUT nor rescale | an error: its values are in no known unit |
| other grey images | modality LUT or rescale, then their own first window, else their own VOI LUT |
| other grey images with neither | 8 bits as they are; of more, and of floats, the minimum..maximum becomes 0..255 |
| one bit for each pixel | 0 and 255 |
| `MONOCHROME1` | inverted after that |
| pixel padding | black |
| `RGB`, `YBR_*`, `PALETTE COLOR` | RGB; of more than 8 bits the stored range becomes 0..255 |
| segmentations, dose grids, and whatever has no pixels | not an image: an error |

Of a pixel's bits those from Bits Stored on are none of its value (`ctonnx.images.dicom.stored_bits`).

Nothing that a file holds beyond its pixels, its kind and its compression comes out of this module: pydicom quotes the
values of elements, patients' names among them, in its warnings and exceptions, so that none of these are passed on
(`ctonnx.images.dicom.redaction`).

Sources: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html (LUTs and windows),
https://pydicom.github.io/pydicom/stable/reference/pixels.html
"""

from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

from ctonnx.errors import ImageError
from ctonnx.images.dicom.dataset import read_data_set
from ctonnx.images.dicom.decoding import Frames, Stored
from ctonnx.images.dicom.header import Fault, cautions_of, find_invalid_element, first_table, number, refuse_faults
from ctonnx.images.dicom.hounsfield import CAPTURE, is_ct_image, modality_of, other_unit
from ctonnx.images.dicom.redaction import redacting
from ctonnx.images.dicom.window import windowed
from ctonnx.images.preprocessing import DicomWindow
from ctonnx.images.scan import Scan

__all__ = ["DicomFile"]

_NO_PICTURE = frozenset({"SEG", "RTDOSE"})  # modalities whose pixels are labels or doses
_PICTURE = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "PhotometricInterpretation",
)  # an image has one, however damaged
_LOOKED_UP, _COMPUTED = 8, 64  # bytes that decoding a pixel takes at most: of grey up to 16 bits, and of all else


class DicomFile:
    """An open DICOM file.

    Args:
        file: at its beginning; it stays the caller's to close.
        size: of the file, in bytes.
        name: what errors call it.
        window: for CT.

    Attributes:
        frames: how many pictures it holds.
        size: The width and height of each.
        bytes_a_pixel: that decoding one takes at most.

    Raises:
        ImageError: it is damaged, holds no picture, is too large, or is compressed in a way that is not read here.
    """

    def __init__(self, file: BinaryIO, size: int, name: str, window: DicomWindow) -> None:
        self._name = name
        self._window = window
        self._header: Any = {}
        self.frames = redacting(name, lambda: self._open(file, size), lambda: self._fault("header"))

    def scan(self, frame: int) -> Scan:
        """Decodes a frame, counted from 0.

        Raises:
            ImageError: it cannot be decoded, or there is no such frame.
        """
        if not 0 <= frame < self.frames:
            raise ImageError(f"expected a frame from 0 to {self.frames - 1}, found {frame}", self._name)
        return redacting(self._name, lambda: self._scan(frame), lambda: self._fault("pixels"))

    def _fault(self, part: str) -> str:
        return (find_invalid_element(self._header) if self._header else None) or f"its {part} cannot be read"

    def _open(self, file: BinaryIO, size: int) -> int:
        """Reads the header, and returns the number of frames."""
        data = read_data_set(file, size, self._name)
        self._header = header = data.header
        kind = uid.UID(str(header.get("SOPClassUID") or data.meta.get("MediaStorageSOPClassUID") or "").strip(" \0"))
        self._kind = kind
        title = kind.name if kind.is_valid and kind.name != kind else "object"
        if data.pixels is None:
            if not any(keyword in header for keyword in (*_PICTURE, "SOPClassUID", "Modality")) and title == "object":
                raise ImageError("not a DICOM file", self._name)
            lack = " (it has no PixelData)" if any(keyword in header for keyword in _PICTURE) else ""
            raise ImageError(f"a DICOM {title} without pixels{lack}", self._name)
        if modality_of(header) in _NO_PICTURE:
            raise ImageError(f"a DICOM {title}, whose pixels are no picture", self._name)
        refuse_faults(header, data.pixels.keyword)
        self.size = int(header.Columns), int(header.Rows)
        self._refuse_another_geometry(*self.size)
        frames = self._frames = Frames(data, data.pixels, self._name)
        is_grey = header.SamplesPerPixel == 1 and header.PhotometricInterpretation != "PALETTE COLOR"
        self.bytes_a_pixel = _LOOKED_UP if is_grey and int(header.BitsAllocated) <= 16 else _COMPUTED
        return frames.count

    def _refuse_another_geometry(self, columns: int, rows: int) -> None:
        if min(rows, columns) < 1:
            raise ImageError(f"the image has no pixels: {columns} x {rows} (Columns x Rows)", self._name)
        if Image.MAX_IMAGE_PIXELS and rows * columns > 2 * Image.MAX_IMAGE_PIXELS:
            raise ImageError(
                f"too large to decode safely: {columns} x {rows} pixels, and an image may have "
                f"{2 * Image.MAX_IMAGE_PIXELS}",
                self._name,
            )

    def _scan(self, frame: int) -> Scan:
        stored, unit = self._frames.stored(frame), self._unit(frame)
        if stored.cells.ndim == 3 or self._header.PhotometricInterpretation == "PALETTE COLOR":
            image, unit = self._colored(stored), unit or "they are colours"
        else:
            image = self._grey(stored, frame, unit)
        found = "; ".join(cautions_of(self._header, image_type=self._image_type(frame), unit=unit))
        return Scan(image, found or None)

    def _colored(self, stored: Stored) -> Image.Image:
        colors, bits = stored.values(stored.cells), stored.bits
        if self._header.PhotometricInterpretation == "PALETTE COLOR":
            colors = apply_color_lut(colors, self._header)
            bits = 8 * colors.itemsize
        if colors.dtype != np.uint8 or bits < 8:
            colors = np.rint(np.clip(colors * (255 / (2**bits - 1)), 0, 255)).astype(np.uint8)
        if stored.photometric.startswith("YBR_FULL"):
            colors = convert_color_space(colors, "YBR_FULL", "RGB")
        return Image.fromarray(np.ascontiguousarray(colors[:, :, :3]))

    def _grey(self, stored: Stored, frame: int, unit: str | None) -> Image.Image:
        cells = stored.cells
        bits = 8 * cells.itemsize
        if cells.dtype.kind not in "iu" or bits > 16 or cells.size < 2**bits:
            return Image.fromarray(self._seen(stored, cells, np.ones(cells.shape, bool), frame, unit))
        # There are more pixels than values: each value is looked up once.
        codes = cells.view(f"u{cells.itemsize}")
        present = np.zeros(2**bits, bool)
        present[codes] = True
        every = np.arange(2**bits, dtype=codes.dtype).view(cells.dtype)
        return Image.fromarray(self._seen(stored, every, present, frame, unit)[codes])

    def _seen(
        self, stored: Stored, cells: NDArray[Any], present: NDArray[np.bool_], frame: int, unit: str | None
    ) -> NDArray[np.uint8]:
        """Returns the grey of cells, of which the present ones are the image's."""
        numbers = stored.values(cells)
        transform = self._functional("PixelValueTransformationSequence", frame)
        values, is_rescaled = _rescaled(numbers, transform)
        padding = self._padding(numbers)
        if stored.high_bit < stored.bits:  # some writers pad with a value beyond Bits Stored
            padding |= self._padding(cells) & (cells != numbers)
        if not is_rescaled and is_ct_image(self._kind) and unit != CAPTURE:
            self._refuse_no_unit(transform)
        if unit is None and is_rescaled:
            grey = windowed(values, self._window.center, self._window.width)
        else:
            grey = self._own_range(values, numbers, present & ~padding, frame)
        if self._header.PhotometricInterpretation == "MONOCHROME1":
            grey = np.subtract(255, grey, dtype=np.uint8)
        grey[padding] = 0
        return grey

    def _unit(self, frame: int) -> str | None:
        """Returns why a frame's values are no Hounsfield units, or None where they are."""
        transform = self._functional("PixelValueTransformationSequence", frame)
        units = [
            str(unit.get("CodeValue"))
            for mapping in self._functional_items("RealWorldValueMappingSequence", frame)
            for unit in mapping.get("MeasurementUnitsCodeSequence") or []
        ]
        return other_unit(self._header, transform, kind=self._kind, image_type=self._image_type(frame), units=units)

    def _image_type(self, frame: int) -> list[object]:
        own = self._functional("CTImageFrameTypeSequence", frame).get("FrameType")
        found = own or self._header.get("ImageType") or []
        return [found] if isinstance(found, str) else list(found)

    def _refuse_no_unit(self, transform: pydicom.Dataset) -> None:
        """Rejects a CT image without the rescale that it must have (PS3.3, C.8.2.1): no unit of its values is known."""
        lacks = [name for name in ("RescaleSlope", "RescaleIntercept") if number(transform, name) is None]
        raise ImageError(
            f"a DICOM {self._kind.name} without {' and '.join(lacks)}, so that its values are no Hounsfield units; "
            f"export it again with {'it' if len(lacks) == 1 else 'them'}",
            self._name,
        )

    def _own_range(
        self, values: NDArray[np.float64], stored: NDArray[Any], present: NDArray[np.bool_], frame: int
    ) -> NDArray[np.uint8]:
        header = self._header
        if header.get("BitsAllocated") == 1:
            black_white: NDArray[np.uint8] = np.where(stored, 255, 0).astype(np.uint8)
            return black_white
        voi = self._functional("FrameVOILUTSequence", frame)
        if "WindowCenter" in voi and "WindowWidth" in voi:
            center, width = (
                float(np.atleast_1d(np.asarray(voi[name].value, float))[0]) for name in ("WindowCenter", "WindowWidth")
            )
            if np.isfinite(center) and width > 0:
                return windowed(values, center, width, str(voi.get("VOILUTFunction", "LINEAR")))
        if voi.get("VOILUTSequence"):
            bits = int(first_table(voi, "VOILUTSequence").LUTDescriptor[2])
            looked_up = np.asarray(apply_voi_lut(np.rint(values).astype(np.int64), voi), np.float64)
            scaled: NDArray[np.uint8] = np.rint(np.clip(looked_up * (255 / (2**bits - 1)), 0, 255)).astype(np.uint8)
            return scaled
        if stored.dtype == np.uint8 and header.BitsStored == 8 and np.array_equal(values, stored):
            return stored.copy()
        seen = values[np.isfinite(values) & present]
        low, high = (seen.min(), seen.max()) if seen.size else (0.0, 0.0)
        scale = 255 / (high - low) if high > low else 0.0
        finite = np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high)
        stretched: NDArray[np.uint8] = np.rint((finite - low) * scale).astype(np.uint8)
        return stretched

    def _padding(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        first, last = (self._header.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
        if stored.dtype.kind not in "iu" or not isinstance(first, int):
            return np.zeros(stored.shape, bool)
        # Some writers give a signed value as an unsigned one.
        ends = [int(np.array(value).astype(stored.dtype)) for value in (first, last) if isinstance(value, int)]
        return np.asarray((stored >= min(ends)) & (stored <= max(ends)))

    def _functional(self, name: str, frame: int) -> pydicom.Dataset:
        """Returns where a frame's transform stands: in a group of its own, in the frames' shared group, or above."""
        items = self._functional_items(name, frame)
        found: pydicom.Dataset = items[0] if items else self._header
        return found

    def _functional_items(self, name: str, frame: int) -> list[pydicom.Dataset]:
        shared = self._header.get("SharedFunctionalGroupsSequence") or []
        own = (self._header.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
        return next((list(found) for group in (*own, *shared, self._header) if (found := group.get(name))), [])


def _rescaled(stored: NDArray[Any], transform: pydicom.Dataset) -> tuple[NDArray[np.float64], bool]:
    """Returns the values that a modality LUT or rescale makes of the stored ones, and whether there is either."""
    if transform.get("ModalityLUTSequence"):
        first_table(transform, "ModalityLUTSequence")
        return np.asarray(apply_modality_lut(stored, transform), np.float64), True
    slope, intercept = number(transform, "RescaleSlope"), number(transform, "RescaleIntercept")
    if slope == 0:
        raise Fault("its RescaleSlope is 0, so that all its values would be one")
    if slope is None or intercept is None:
        return np.asarray(stored, np.float64), False
    return stored.astype(np.float64) * slope + intercept, True
