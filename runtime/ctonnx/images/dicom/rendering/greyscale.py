"""Rendering of a DICOM frame's stored values as 8-bit grey or colour: rescale, window or VOI LUT, and padding.

| frame | rule |
| --- | --- |
| values in Hounsfield units (`ctonnx.images.dicom.hounsfield`) | modality LUT or rescale, then the model's window |
| CT Image Storage with neither LUT nor rescale | an error: the unit of its values is unknown |
| other grey images | modality LUT or rescale, then the file's first window, otherwise its VOI LUT |
| other grey images with neither | 8 bits unchanged; more bits and floats: the minimum..maximum becomes 0..255 |
| one bit per pixel | 0 and 255 |
| `MONOCHROME1` | inverted after that |
| pixel padding | black |
| `RGB`, `YBR_*`, `PALETTE COLOR` | RGB; with more than 8 bits the stored range becomes 0..255 |

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html (LUTs and windows)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

from ctonnx.errors import ImageError
from ctonnx.images.dicom.decoding import Stored
from ctonnx.images.dicom.header import Fault, cautions_of, first_table, number
from ctonnx.images.dicom.hounsfield import CAPTURE, is_ct_image, other_unit
from ctonnx.images.dicom.rendering.window import windowed
from ctonnx.images.modes import finite_range, stretched
from ctonnx.images.preprocessing import DicomWindow
from ctonnx.images.scan import Scan

__all__ = ["Rendering"]


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Rules that render one frame, counted from 0, as grey or colour; `kind` is the SOP class of its file."""

    header: Any
    frame: int
    kind: uid.UID
    window: DicomWindow
    name: str

    def scan(self, stored: Stored) -> Scan:
        """Renders the frame's stored values.

        Raises:
            Fault: A rescale or a lookup table is invalid.
            ImageError: The frame is a CT image without rescale.
        """
        unit = self._other_unit()
        if stored.cells.ndim == 3 or self.header.PhotometricInterpretation == "PALETTE COLOR":
            image, unit = self._colored(stored), unit or "they are colours"
        else:
            image = self._grey(stored, unit)
        return Scan(image, "; ".join(cautions_of(self.header, image_type=self._image_type(), unit=unit)) or None)

    def _colored(self, stored: Stored) -> Image.Image:
        colors, bits = stored.values(stored.cells), stored.bits
        if self.header.PhotometricInterpretation == "PALETTE COLOR":
            colors = apply_color_lut(colors, self.header)
            bits = 8 * colors.itemsize
        if colors.dtype != np.uint8 or bits < 8:
            colors = _full_range(colors, bits)
        if stored.photometric.startswith("YBR_FULL"):
            colors = convert_color_space(colors, "YBR_FULL", "RGB")
        return Image.fromarray(np.ascontiguousarray(colors[:, :, :3]))

    def _grey(self, stored: Stored, unit: str | None) -> Image.Image:
        cells = stored.cells
        bits = 8 * cells.itemsize
        if cells.dtype.kind not in "iu" or bits > 16 or cells.size < 2**bits:
            return Image.fromarray(self._grey_of_cells(stored, cells, np.ones(cells.shape, bool), unit))
        # There are more pixels than values: each value is looked up once.
        codes = cells.view(f"u{cells.itemsize}")
        present = np.zeros(2**bits, bool)
        present[codes] = True
        every = np.arange(2**bits, dtype=codes.dtype).view(cells.dtype)
        return Image.fromarray(self._grey_of_cells(stored, every, present, unit)[codes])

    def _grey_of_cells(
        self, stored: Stored, cells: NDArray[Any], present: NDArray[np.bool_], unit: str | None
    ) -> NDArray[np.uint8]:
        """Returns the grey of cells; `present` marks those that occur in the image."""
        numbers = stored.values(cells)
        transform = self._functional("PixelValueTransformationSequence")
        values, is_rescaled = _rescaled(numbers, transform)
        padding = self._padding(numbers)
        if stored.high_bit < stored.bits:  # some writers pad with a value beyond Bits Stored
            padding |= self._padding(cells) & (cells != numbers)
        if not is_rescaled and is_ct_image(self.kind) and unit != CAPTURE:
            self._reject_without_unit(transform)
        if unit is None and is_rescaled:
            grey = windowed(values, self.window.center, self.window.width)
        else:
            grey = self._through_own_window(values, numbers, present & ~padding)
        if self.header.PhotometricInterpretation == "MONOCHROME1":
            grey = np.subtract(255, grey, dtype=np.uint8)
        grey[padding] = 0
        return grey

    def _through_own_window(
        self, values: NDArray[np.float64], stored: NDArray[Any], present: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """Returns values through the file's own window or VOI LUT, otherwise their range as 0 to 255."""
        if self.header.get("BitsAllocated") == 1:
            return np.where(stored, 255, 0).astype(np.uint8)
        voi = self._functional("FrameVOILUTSequence")
        if "WindowCenter" in voi and "WindowWidth" in voi:
            ends = (np.atleast_1d(np.asarray(voi[name].value, float)) for name in ("WindowCenter", "WindowWidth"))
            center, width = (float(found[0]) for found in ends)
            if np.isfinite(center) and width > 0:
                return windowed(values, center, width, str(voi.get("VOILUTFunction", "LINEAR")))
        if voi.get("VOILUTSequence"):
            bits = int(first_table(voi, "VOILUTSequence").LUTDescriptor[2])
            return _full_range(np.asarray(apply_voi_lut(np.rint(values).astype(np.int64), voi), np.float64), bits)
        if stored.dtype == np.uint8 and self.header.BitsStored == 8 and np.array_equal(values, stored):
            return stored.copy()
        return stretched(values, *finite_range([values[present]]))

    def _padding(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        first, last = (self.header.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
        if stored.dtype.kind not in "iu" or not isinstance(first, int):
            return np.zeros(stored.shape, bool)
        # Some writers give a signed value as an unsigned one.
        ends = [int(np.array(value).astype(stored.dtype)) for value in (first, last) if isinstance(value, int)]
        return np.asarray((stored >= min(ends)) & (stored <= max(ends)))

    def _reject_without_unit(self, transform: pydicom.Dataset) -> None:
        """Rejects a CT image without the rescale that it must have (PS3.3, C.8.2.1): the unit is unknown."""
        missing = [name for name in ("RescaleSlope", "RescaleIntercept") if number(transform, name) is None]
        raise ImageError(
            f"a DICOM {self.kind.name} without {' and '.join(missing)}, so that its values are not Hounsfield units; "
            f"export it again with {'it' if len(missing) == 1 else 'them'}",
            self.name,
        )

    def _other_unit(self) -> str | None:
        """Returns the reason why the values are not Hounsfield units, or None if they are."""
        transform = self._functional("PixelValueTransformationSequence")
        units = [
            str(unit.get("CodeValue"))
            for mapping in self._functional_items("RealWorldValueMappingSequence")
            for unit in mapping.get("MeasurementUnitsCodeSequence") or []
        ]
        return other_unit(self.header, transform, kind=self.kind, image_type=self._image_type(), units=units)

    def _image_type(self) -> list[object]:
        own = self._functional("CTImageFrameTypeSequence").get("FrameType")
        found = own or self.header.get("ImageType") or []
        return [found] if isinstance(found, str) else list(found)

    def _functional(self, name: str) -> pydicom.Dataset:
        """Returns the dataset with the frame's elements: its own group, the group of all frames, or the header."""
        items = self._functional_items(name)
        found: pydicom.Dataset = items[0] if items else self.header
        return found

    def _functional_items(self, name: str) -> list[pydicom.Dataset]:
        shared = self.header.get("SharedFunctionalGroupsSequence") or []
        own = (self.header.get("PerFrameFunctionalGroupsSequence") or [])[self.frame : self.frame + 1]
        return next((list(found) for group in (*own, *shared, self.header) if (found := group.get(name))), [])


def _rescaled(stored: NDArray[Any], transform: pydicom.Dataset) -> tuple[NDArray[np.float64], bool]:
    """Returns the stored values after the modality LUT or rescale, and whether there is one."""
    if transform.get("ModalityLUTSequence"):
        first_table(transform, "ModalityLUTSequence")
        return np.asarray(apply_modality_lut(stored, transform), np.float64), True
    slope, intercept = number(transform, "RescaleSlope"), number(transform, "RescaleIntercept")
    if slope == 0:
        raise Fault("its RescaleSlope is 0, so that all its values would be equal")
    if slope is None or intercept is None:
        return np.asarray(stored, np.float64), False
    return stored.astype(np.float64) * slope + intercept, True


def _full_range(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    scaled: NDArray[np.uint8] = np.rint(np.clip(values * (255 / (2**bits - 1)), 0, 255)).astype(np.uint8)
    return scaled
