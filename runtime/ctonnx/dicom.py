"""DICOM files as 8-bit images, by pydicom: CT in Hounsfield units through the model's window, others through their own.

| object | rule |
| --- | --- |
| CT, or a rescale type of HU | modality LUT or rescale, then the model's window |
| CT Image Storage with neither LUT nor rescale | an error: its values are in no known unit |
| other grey images | modality LUT or rescale, then their own first window, else their own VOI LUT |
| other grey images with neither | 8 bits as they are; of more, and of floats, the minimum..maximum becomes 0..255 |
| one bit for each pixel | 0 and 255 |
| `MONOCHROME1` | inverted after that |
| pixel padding | black |
| `RGB`, `YBR_*`, `PALETTE COLOR` | RGB; of more than 8 bits the stored range becomes 0..255 |
| segmentations, dose grids, and whatever has no pixels | not an image: an error |

Nothing that a file holds beyond its pixels, its kind and its compression comes out of this module: pydicom quotes the
values of elements, patients' names among them, in its warnings and exceptions, so that none of these are passed on
(`ctonnx.confidential`).

Each compression has one decoder, whatever else is installed: the same file gives the same pixels everywhere. GDCM is
never taken: damaged bytes make it end the whole process.

Sources: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html (LUTs and windows),
https://pydicom.github.io/pydicom/stable/reference/pixels.html
"""

import io
import zlib
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import as_pixel_options

from ctonnx.confidential import Fault, cautions_of, fault_of, in_our_words, number
from ctonnx.errors import ImageError
from ctonnx.spec import DicomWindow
from ctonnx.windowing import windowed

__all__ = ["DicomFile"]

_NO_PICTURE = frozenset({"SEG", "RTDOSE"})  # modalities whose pixels are labels or doses
_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_MOST_INFLATED = 1 << 29  # bytes of a deflated data set
_LOOKED_UP, _COMPUTED = 8, 64  # bytes that decoding a pixel takes at most: of grey up to 16 bits, and of all else
_NO_LENGTH = 0xFFFFFFFF  # of an element that ends with a delimiter
_PADDING = 16  # bytes after the pixels that are no line of a small image
_LEAST_FRAME = 8  # bytes of a compressed one: the head of its item

# The plugin of pydicom that decodes, for each syntax; "" needs none.
_PLUGINS = {
    **dict.fromkeys((uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian), ""),
    uid.RLELossless: "pydicom",
    **dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000Lossless, uid.JPEG2000), "pillow"),
}
_JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
_IMAGECODECS = _JPEG_LS | {uid.JPEGLossless, uid.JPEGLosslessSV1}


class DicomFile:
    """An open DICOM file.

    Args:
        file: at its beginning; it stays the caller's to close.
        size: of the file, in bytes.
        name: what errors call it.
        window: for CT.

    Attributes:
        frames: how many pictures it holds.
        size: the width and height of each.
        bytes_a_pixel: that decoding one takes at most.

    Raises:
        ImageError: it is damaged, holds no picture, is too large, or is compressed in a way that is not read here.
    """

    def __init__(self, file: BinaryIO, size: int, name: str, window: DicomWindow) -> None:
        self._name = name
        self._window = window
        self._header: Any = {}
        self.frames = in_our_words(name, lambda: self._open(file, size), lambda: self._fault("header"))

    def image(self, frame: int) -> Image.Image:
        """Returns a frame, counted from 0, as an image of mode `L` or `RGB`.

        Raises:
            ImageError: it cannot be decoded, or there is no such frame.
        """
        if not 0 <= frame < self.frames:
            raise ImageError(f"expected a frame from 0 to {self.frames - 1}, found {frame}", self._name)
        image = in_our_words(self._name, lambda: self._image(frame), lambda: self._fault("pixels"))
        image.caution = self._caution  # type: ignore[attr-defined]  # for ctonnx.cautions; Pillow has no place for it
        return image

    def _fault(self, part: str) -> str:
        return (fault_of(self._header) if self._header else None) or f"its {part} cannot be read"

    def _open(self, file: BinaryIO, size: int) -> int:
        """Reads the header, and returns the number of frames."""
        self._file, size = _inflated(file, size, self._name)
        self._header = header = pydicom.dcmread(self._file, stop_before_pixels=True, force=True)
        begin = self._file.tell()
        implicit, little = header.original_encoding
        head = self._file.read(12)  # the tag, and the length: with its type before it where that is explicit
        self._begin = begin + (8 if implicit else 12)
        order: Any = "little" if little else "big"
        keyword = _KEYWORDS.get(int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order))
        self._refuse_what_is_no_picture(keyword is not None)
        self._syntax = self._encoding(bool(implicit), bool(little), head[4:8] if implicit else head[8:])
        length = int.from_bytes(head[4:8] if implicit else head[8:], order)
        frames = self._count(size - self._begin, length)
        self._caution = "; ".join(cautions_of(header)) or None
        self.size = int(header.Columns), int(header.Rows)
        is_grey = header.get("SamplesPerPixel", 1) == 1 and header.PhotometricInterpretation != "PALETTE COLOR"
        self.bytes_a_pixel = _LOOKED_UP if is_grey and int(header.BitsAllocated) <= 16 else _COMPUTED
        self._options: dict[str, Any] = as_pixel_options(
            header,
            transfer_syntax_uid=self._syntax,
            pixel_keyword=keyword,
            number_of_frames=frames,
            **({} if implicit else {"pixel_vr": head[4:6].decode("ascii")}),
        )
        if header.get("SamplesPerPixel", 1) != 1:
            self._options.setdefault("planar_configuration", 0)
        return frames

    def _refuse_what_is_no_picture(self, has_pixels: bool) -> None:
        header = self._header
        kind = uid.UID(str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""))
        title = kind.name if kind.is_valid and kind.name != kind else "object"
        if not has_pixels or "Rows" not in header or "Columns" not in header:
            known = title != "object" or "SOPClassUID" in header or "Modality" in header
            raise ImageError(f"a DICOM {title} without pixels" if known else "not a DICOM file", self._name)
        if header.get("Modality") in _NO_PICTURE:
            raise ImageError(f"a DICOM {title}, whose pixels are no picture", self._name)
        rows, columns = int(header.Rows), int(header.Columns)
        if 0 in (rows, columns):
            raise ImageError(f"the image has no pixels: {columns} x {rows}", self._name)
        if Image.MAX_IMAGE_PIXELS and rows * columns > 2 * Image.MAX_IMAGE_PIXELS:
            raise ImageError(
                f"too large to decode safely: {columns} x {rows} pixels, and an image may have "
                f"{2 * Image.MAX_IMAGE_PIXELS}",
                self._name,
            )

    def _encoding(self, implicit: bool, little: bool, length: bytes) -> uid.UID:
        """Returns the transfer syntax, if it can be read."""
        syntax = uid.UID(str(self._header.file_meta.get("TransferSyntaxUID", "")))
        if not syntax and length != b"\xff" * 4:  # what is compressed has no length
            plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            syntax = uid.ImplicitVRLittleEndian if implicit else plain
        if syntax == uid.DeflatedExplicitVRLittleEndian:  # it is inflated by now
            syntax = uid.ExplicitVRLittleEndian
        if not syntax:
            raise ImageError("a DICOM file that does not say how it is encoded (no transfer syntax)", self._name)
        how = f"as {syntax.name}" if syntax.is_valid and syntax.name != syntax else "in an unknown way"
        if syntax not in _PLUGINS and syntax not in _IMAGECODECS:
            raise ImageError(f"a DICOM file compressed {how}, which is not read", self._name)
        is_deep = syntax == uid.JPEGExtended12Bit and int(self._header.BitsStored) > 8  # than Pillow reads
        self._codecs: Any = _imagecodecs() if syntax in _IMAGECODECS or is_deep else None
        if self._codecs is None and (syntax in _IMAGECODECS or is_deep):
            raise ImageError(
                f'a DICOM file compressed {how}, which needs imagecodecs; pip install "ctonnx[dicom]"', self._name
            )
        return syntax

    def _count(self, room: int, length: int) -> int:
        """Returns the number of frames, which a damaged header may put in the millions.

        Args:
            room: bytes of the file from the pixels on.
            length: bytes of the pixels, as their element says.
        """
        header = self._header
        frames = max(1, int(header.get("NumberOfFrames") or 1))
        rows, columns, least, line = int(header.Rows), int(header.Columns), frames * _LEAST_FRAME, 0
        if not self._syntax.is_compressed:
            samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else int(header.get("SamplesPerPixel", 1))
            bits = samples * int(header.BitsAllocated)
            least, line = frames * rows * columns * bits // 8, min(rows, columns) * bits // 8
        if least > room:
            lack = f"its bytes cannot hold {frames} frames" if frames > 1 else "its pixels end too early"
            raise Fault(lack)
        # A line more is another geometry, and would be sheared; less is padding: one byte by PS3.5, 8.1.1, often more.
        if line and length != _NO_LENGTH and length - least >= max(line, _PADDING):
            raise Fault(
                f"its PixelData has {length} bytes, where {frames} x {rows} x {columns} pixels (NumberOfFrames, Rows, "
                f"Columns) take {least}"
            )
        return frames

    def _image(self, frame: int) -> Image.Image:
        self._file.seek(self._begin)
        stored: NDArray[Any] | None = None
        if self._codecs:
            stored = self._unpacked(frame)
        else:
            try:
                stored, _ = get_decoder(self._syntax).as_array(
                    self._file, index=frame, decoding_plugin=_PLUGINS[self._syntax], **self._options
                )
            except RuntimeError:  # of a decoder; not raised from here, as pydicom's words would hang on it
                stored = None
        if stored is None:
            raise ImageError(f"damaged DICOM file, or a variant of {self._syntax.name} that cannot be read", self._name)
        if stored.ndim == 3 or self._header.PhotometricInterpretation == "PALETTE COLOR":
            return self._colored(stored)
        return Image.fromarray(self._grey(stored, frame))

    def _unpacked(self, frame: int) -> NDArray[Any] | None:
        """Returns a frame as imagecodecs decodes it, which pydicom has no plugin for."""
        wanted = self._options
        places: dict[str, Any] = {name: wanted.get(name) for name in ("number_of_frames", "extended_offsets")}
        stream = get_frame(self._file, frame, **places).rstrip(b"\0\xff")  # without its padding
        # The decoders believe the stream's own size, and CharLS waits for ever for the end of one that has none.
        size = wanted["rows"], wanted["columns"], wanted["samples_per_pixel"]
        if _stream_size(stream) != size or not stream.endswith(b"\xff\xd9"):
            return None
        colors = {} if wanted["samples_per_pixel"] == 1 else {"colorspace": "RGB", "outcolorspace": "RGB"}  # unchanged
        is_ls = self._syntax in _JPEG_LS
        samples = self._codecs.jpegls_decode(stream) if is_ls else self._codecs.jpeg8_decode(stream, **colors)
        bits = 8 * samples.itemsize
        plain = {
            **{name: value for name, value in wanted.items() if name != "extended_offsets"},
            "transfer_syntax_uid": uid.ExplicitVRLittleEndian,
            "number_of_frames": 1,
            "bits_allocated": bits,
            "bits_stored": min(bits, wanted["bits_stored"]),
            "pixel_vr": "OB" if bits == 8 else "OW",
            "photometric_interpretation": wanted["photometric_interpretation"].removesuffix("_422"),
        }
        if "planar_configuration" in plain:
            plain["planar_configuration"] = 0
        data = samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()
        decoder = get_decoder(uid.ExplicitVRLittleEndian)
        stored: NDArray[Any] = decoder.as_array(data + b"\0" * (len(data) % 2), index=0, **plain)[0]
        return stored

    def _colored(self, stored: NDArray[Any]) -> Image.Image:
        header = self._header
        bits = int(header.BitsStored)
        if header.PhotometricInterpretation == "PALETTE COLOR":
            stored = apply_color_lut(stored, header)
            bits = 8 * stored.itemsize
        if stored.dtype != np.uint8:
            stored = np.rint(np.clip(stored * (255 / (2**bits - 1)), 0, 255)).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(stored[:, :, :3]))

    def _grey(self, stored: NDArray[Any], frame: int) -> NDArray[np.uint8]:
        stored = np.ascontiguousarray(stored, stored.dtype.newbyteorder("="))
        bits = 8 * stored.itemsize
        if stored.dtype.kind not in "iu" or bits > 16 or stored.size < 2**bits:
            return self._seen(stored, np.ones(stored.shape, bool), frame)
        # There are more pixels than values: each value is looked up once.
        codes = stored.view(f"u{stored.itemsize}")
        present = np.zeros(2**bits, bool)
        present[codes] = True
        every = np.arange(2**bits, dtype=codes.dtype).view(stored.dtype)
        grey: NDArray[np.uint8] = self._seen(every, present, frame)[codes]
        return grey

    def _seen(self, stored: NDArray[Any], present: NDArray[np.bool_], frame: int) -> NDArray[np.uint8]:
        """Returns the grey of stored values, of which the present ones are the image's."""
        header = self._header
        transform = self._functional("PixelValueTransformationSequence", frame)
        values, is_rescaled = _rescaled(stored, transform)
        padding = self._padding(stored)
        if self._is_in_hounsfield_units(transform, is_rescaled=is_rescaled):
            grey = windowed(values, self._window.center, self._window.width)
        else:
            grey = self._own_range(values, stored, present & ~padding, frame)
        if header.PhotometricInterpretation == "MONOCHROME1":
            grey = np.subtract(255, grey, dtype=np.uint8)
        grey[padding] = 0
        return grey

    def _is_in_hounsfield_units(self, transform: pydicom.Dataset, *, is_rescaled: bool) -> bool:
        header = self._header
        kind = uid.UID(str(header.get("SOPClassUID", "")))
        is_ct = kind in (uid.CTImageStorage, uid.EnhancedCTImageStorage)
        if is_rescaled:
            return is_ct or header.get("Modality") == "CT" or transform.get("RescaleType") == "HU"
        if is_ct:  # which must have both (PS3.3, C.8.2.1): no window suits values of an unknown unit
            raise ImageError(
                f"a DICOM {kind.name} without Rescale Slope and Rescale Intercept, so that its values are no "
                "Hounsfield units; export it again with them",
                self._name,
            )
        return False

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
            bits = int(voi.VOILUTSequence[0].LUTDescriptor[2])
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
        shared = self._header.get("SharedFunctionalGroupsSequence") or []
        own = (self._header.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
        for group in (*own, *shared):
            if found := group.get(name):
                inner: pydicom.Dataset = found[0]
                return inner
        own_header: pydicom.Dataset = self._header
        return own_header


def _rescaled(stored: NDArray[Any], transform: pydicom.Dataset) -> tuple[NDArray[np.float64], bool]:
    """Returns the values that a modality LUT or rescale makes of the stored ones, and whether there is either."""
    if transform.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, transform), np.float64), True
    slope, intercept = number(transform, "RescaleSlope"), number(transform, "RescaleIntercept")
    if slope == 0:
        raise Fault("its RescaleSlope is 0, so that all its values would be one")
    if slope is None or intercept is None:
        return np.asarray(stored, np.float64), False
    return stored.astype(np.float64) * slope + intercept, True


def _imagecodecs() -> Any:
    try:
        import imagecodecs
    except ModuleNotFoundError:
        return None
    return imagecodecs


def _inflated(file: BinaryIO, size: int, name: str) -> tuple[BinaryIO, int]:
    """Returns a file, or its data set where that is deflated, and the size: pydicom would inflate any amount."""
    file.seek(0)
    read_preamble(file, force=True)
    meta = read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag >> 16 != 2
    )
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return file, size
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(file.read(), _MOST_INFLATED + 1)
    if len(data) > _MOST_INFLATED:
        raise ImageError(f"too large to decode safely: it inflates to more than {_MOST_INFLATED} bytes", name)
    return io.BytesIO(data), len(data)


def _stream_size(stream: bytes) -> tuple[int, int, int]:
    """Returns the rows, columns and samples that a JPEG or JPEG-LS stream says it has (ITU-T T.81, B.2.2)."""
    place = 2
    while True:
        marker = stream[place + 1]
        if stream[place] != 0xFF:
            raise ValueError("no marker")
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = (int.from_bytes(stream[place + at : place + at + 2], "big") for at in (5, 7))
            return rows, columns, stream[place + 9]
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
