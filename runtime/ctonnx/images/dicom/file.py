"""A DICOM file and its frames, read by pydicom.

Segmentations, dose grids and files without pixels are rejected: they are not images. Each frame is rendered as grey or
colour by `ctonnx.images.dicom.rendering.greyscale`.

Of the file's contents only its pixels, its kind, its compression and how it was acquired leave this module: pydicom
quotes the values of elements, patients' names among them, in its warnings and exceptions, and none of these are passed
on (`ctonnx.images.dicom.redaction`).
"""

from typing import Any, BinaryIO

from PIL import Image
from pydicom import uid

from ctonnx.errors import ImageError
from ctonnx.images.dicom.dataset import read_data_set
from ctonnx.images.dicom.decoding import Frames
from ctonnx.images.dicom.header import acquisition_of, check_pixel_elements, find_invalid_element
from ctonnx.images.dicom.hounsfield import modality_of
from ctonnx.images.dicom.redaction import redacting
from ctonnx.images.dicom.rendering.greyscale import Rendering
from ctonnx.images.preprocessing import DicomWindow
from ctonnx.images.scan import Scan

__all__ = ["DicomFile"]

_NOT_IMAGES = frozenset({"SEG", "RTDOSE"})  # modalities whose pixels are labels or doses
_OF_IMAGES = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")  # an image has one, however damaged
_LOOKED_UP, _COMPUTED = 8, 64  # maximum bytes to decode a pixel: of grey up to 16 bits, and of all else


class DicomFile:
    """A DICOM file, open at its beginning; the caller closes it.

    Attributes:
        frames: Number of frames.
        size: Width and height of each frame.
        bytes_per_pixel: Maximum memory to decode a pixel, in bytes.

    Raises:
        ImageError: If the file is damaged, contains no image, is too large, or has an unsupported compression.
    """

    def __init__(self, file: BinaryIO, size: int, name: str, window: DicomWindow) -> None:
        self._name, self._window = name, window
        self._header: Any = {}
        self.frames = redacting(name, lambda: self._open(file, size), lambda: self._fault("header"))

    def scan(self, frame: int) -> Scan:
        """Decodes a frame, counted from 0.

        Raises:
            ImageError: If the frame cannot be decoded or does not exist.
        """
        if not 0 <= frame < self.frames:
            raise ImageError(f"expected a frame from 0 to {self.frames - 1}, found {frame}", self._name)
        rendering = Rendering(header=self._header, frame=frame, kind=self._kind, window=self._window, name=self._name)
        return redacting(self._name, lambda: rendering.scan(self._frames.stored(frame)), lambda: self._fault("pixels"))

    def acquisition(self) -> dict[str, str | float]:
        """Returns the acquisition of the image; see `ctonnx.images.dicom.header.acquisition_of`."""
        return redacting(self._name, lambda: acquisition_of(self._header), lambda: self._fault("header"))

    def _fault(self, part: str) -> str:
        return (find_invalid_element(self._header) if self._header else None) or f"its {part} cannot be read"

    def _open(self, file: BinaryIO, size: int) -> int:
        """Reads the header and returns the number of frames."""
        data = read_data_set(file, size, self._name)
        self._header = header = data.header
        kind = uid.UID(str(header.get("SOPClassUID") or data.meta.get("MediaStorageSOPClassUID") or "").strip(" \0"))
        self._kind = kind
        title = kind.name if kind.is_valid and kind.name != kind else "object"
        if data.pixels is None:
            if not any(keyword in header for keyword in (*_OF_IMAGES, "SOPClassUID", "Modality")) and title == "object":
                raise ImageError("not a DICOM file", self._name)
            lack = " (it has no PixelData)" if any(keyword in header for keyword in _OF_IMAGES) else ""
            raise ImageError(f"a DICOM {title} without pixels{lack}", self._name)
        if modality_of(header) in _NOT_IMAGES:
            raise ImageError(f"a DICOM {title}, whose pixels are not an image", self._name)
        check_pixel_elements(header, data.pixels.keyword)
        columns, rows = self.size = int(header.Columns), int(header.Rows)
        if min(rows, columns) < 1:
            raise ImageError(f"the image has no pixels: {columns} x {rows} (Columns x Rows)", self._name)
        limit = 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else rows * columns
        if rows * columns > limit:
            message = f"too large to decode safely: {columns} x {rows} pixels, and an image may have {limit}"
            raise ImageError(message, self._name)
        frames = self._frames = Frames(data, data.pixels, self._name)
        is_grey = header.SamplesPerPixel == 1 and header.PhotometricInterpretation != "PALETTE COLOR"
        self.bytes_per_pixel = _LOOKED_UP if is_grey and int(header.BitsAllocated) <= 16 else _COMPUTED
        return frames.count
