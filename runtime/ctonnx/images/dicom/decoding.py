"""The pixels of a DICOM file's frames as they are stored, whatever compresses them.

Each compression has one decoder, whatever else is installed: the same file gives the same pixels everywhere. GDCM is
never taken: damaged bytes make it end the whole process.

Source: https://pydicom.github.io/pydicom/stable/reference/pixels.html
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options, get_j2k_parameters

from ctonnx.errors import ImageError
from ctonnx.images.dicom.dataset import NO_LENGTH, DataSet, PixelElement
from ctonnx.images.dicom.header import Fault
from ctonnx.images.dicom.stored_bits import lies_elsewhere, value_bits

__all__ = ["Frames", "Stored"]

_PADDING = 16  # bytes after the pixels that are no line of a small image
_LEAST_FRAME = 8  # bytes of a compressed one: the head of its item

# The plugin of pydicom that decodes, for each syntax; "" needs none.
_PLUGINS = {
    **dict.fromkeys((uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian), ""),
    uid.RLELossless: "pydicom",
    **dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000Lossless, uid.JPEG2000), "pillow"),
}
_JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000})
_JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
_IMAGECODECS = _JPEG_LS | {uid.JPEGLossless, uid.JPEGLosslessSV1}
_UNCOMPRESSED = frozenset(
    {*(syntax for syntax, plugin in _PLUGINS.items() if not plugin), uid.DeflatedExplicitVRLittleEndian}
)


class Stored(NamedTuple):
    """A frame as it is stored.

    Attributes:
        cells: in the machine's byte order, of shape [rows, columns], or [rows, columns, 3] of colour; with whatever
            lies in the bits around the values.
        photometric: what the numbers mean, as Photometric Interpretation names it.
        bits: Number of bits of a value.
        high_bit: Place of a value's highest bit.
    """

    cells: NDArray[Any]
    photometric: str
    bits: int
    high_bit: int

    def values(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Returns the values that cells hold, as this frame's do."""
        if cells.dtype.kind not in "iu":
            return cells
        return value_bits(cells, bits_stored=self.bits, high_bit=self.high_bit)


class Frames:
    """The frames of a data set whose elements were found to be whole (`ctonnx.images.dicom.header.refuse_faults`).

    Args:
        data: The data set.
        pixels: Its element of pixels.
        name: what errors call the file.

    Attributes:
        count: Number of frames.

    Raises:
        Fault: The pixels are not as the elements say.
        ImageError: they are compressed in a way that is not read here.
    """

    def __init__(self, data: DataSet, pixels: PixelElement, name: str) -> None:
        self._data, self._pixels, self._name, self._header = data, pixels, name, data.header
        header = data.header
        self.count = max(1, int(header.get("NumberOfFrames") or 1))
        self._syntax = self._encoding()
        self._refuse_another_size()
        self._stored_bits = int(header.get("BitsStored") or header.BitsAllocated)
        high_bit = header.get("HighBit")
        is_possible = isinstance(high_bit, int) and self._stored_bits <= high_bit < header.BitsAllocated
        self._high_bit = int(high_bit) if is_possible else self._stored_bits - 1
        self._options: dict[str, Any] = as_pixel_options(
            header,
            transfer_syntax_uid=self._syntax,
            pixel_keyword=pixels.keyword,
            number_of_frames=self.count,
            **({"pixel_vr": pixels.vr} if pixels.vr else {}),
        )
        if header.SamplesPerPixel != 1:
            self._options.setdefault("planar_configuration", 0)

    def stored(self, frame: int) -> Stored:
        """Returns a frame as it is stored.

        Args:
            frame: Its number, counted from 0.

        Raises:
            ImageError: it cannot be decoded.
            Fault: Its High Bit is wrong.
        """
        self._data.file.seek(self._pixels.begin)
        stored: Stored | None = None
        if self._codecs:
            stored = self._unpacked(frame)
        else:
            try:
                stored = self._decoded(frame)
            except RuntimeError:  # of a decoder; not raised from here, as pydicom's words would hang on it
                stored = None
        if stored is None:
            raise ImageError(f"damaged DICOM file, or a variant of {self._syntax.name} that cannot be read", self._name)
        if stored.cells.dtype.kind in "iu" and lies_elsewhere(
            stored.cells, bits_stored=stored.bits, high_bit=stored.high_bit
        ):
            begin = stored.high_bit + 1 - stored.bits
            raise Fault(f"its HighBit says that pixels begin at bit {begin}, and they begin at bit 0")
        return stored

    def _encoding(self) -> uid.UID:
        """Returns the transfer syntax of the pixels, if it can be read."""
        label, plain, header = self._data.label, self._data.plain, self._header
        if not self._pixels.in_fragments:
            # Compressed pixels are in fragments: what the label says is wrong, or the pixels are.
            count = self._plain_bytes()
            if not label or label in _UNCOMPRESSED or self._pixels.length in (count, count + count % 2):
                self._codecs: Any = None
                return plain
        if not label:
            raise Fault("it does not say how it is encoded: it has no TransferSyntaxUID")
        if self._pixels.in_fragments and label in _UNCOMPRESSED:
            raise Fault("its TransferSyntaxUID says that its pixels are not compressed, and they are")
        how = f"as {label.name}" if label.is_valid and label.name != label else "in an unknown way"
        if label not in _PLUGINS and label not in _IMAGECODECS:
            raise ImageError(f"a DICOM file compressed {how}, which is not read", self._name)
        if not self._pixels.in_fragments:
            raise Fault("its TransferSyntaxUID says that its pixels are compressed, and they are not")
        deep = int(header.get("BitsStored") or header.BitsAllocated) > 8  # than Pillow reads, of these
        is_deep = deep and (label == uid.JPEGExtended12Bit or (label in _JPEG_2000 and int(header.SamplesPerPixel) > 1))
        is_needed = label in _IMAGECODECS or is_deep
        self._codecs = _imagecodecs() if is_needed else None
        if self._codecs is None and is_needed:
            raise ImageError(
                f'a DICOM file compressed {how}, which needs imagecodecs; pip install "ctonnx[dicom]"', self._name
            )
        return label

    def _plain_bytes(self) -> int:
        """Returns the number of bytes that the frames take where they are not compressed."""
        header = self._header
        samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else int(header.SamplesPerPixel)
        bits = samples * int(header.BitsAllocated)
        return (self.count * int(header.Rows) * int(header.Columns) * bits + 7) // 8

    def _refuse_another_size(self) -> None:
        """Rejects bytes that are fewer or more than the elements say, which may claim millions of frames."""
        header, length = self._header, self._pixels.length
        rows, columns = int(header.Rows), int(header.Columns)
        least, line = self.count * _LEAST_FRAME, 0
        if not self._syntax.is_compressed:
            least = self._plain_bytes()
            line = min(rows, columns) * least // (self.count * rows * columns)
        if least > self._data.size - self._pixels.begin:
            lack = f"cannot hold {self.count} frames (NumberOfFrames)" if self.count > 1 else "ends too early"
            raise Fault(f"its {self._pixels.keyword} {lack}")
        # A line more is another geometry, and would be sheared; less is padding: one byte by PS3.5, 8.1.1, often more.
        if line and length != NO_LENGTH and length - least >= max(line, _PADDING):
            raise Fault(
                f"its {self._pixels.keyword} has {length} bytes, where {self.count} x {rows} x {columns} pixels "
                f"(NumberOfFrames, Rows, Columns) take {least}"
            )

    def _decoded(self, frame: int) -> Stored:
        """Returns a frame as pydicom decodes it."""
        cells, found = get_decoder(self._syntax).as_array(
            self._data.file,
            index=frame,
            raw=True,
            decoding_plugin=_PLUGINS[self._syntax],
            **{**self._options, "correct_unused_bits": False},
        )
        high_bit = self._high_bit
        if self._syntax in _JPEG_2000 and high_bit >= self._stored_bits:  # which a stream of fewer bits does not keep
            precision = get_j2k_parameters(self._stream(frame)).get("precision", high_bit + 1)
            high_bit = max(self._stored_bits, min(high_bit + 1, precision)) - 1
        cells = np.ascontiguousarray(cells, cells.dtype.newbyteorder("="))
        return Stored(cells, str(found["photometric_interpretation"]), self._stored_bits, high_bit)

    def _stream(self, frame: int) -> bytes:
        wanted = self._options
        places: dict[str, Any] = {name: wanted.get(name) for name in ("number_of_frames", "extended_offsets")}
        return get_frame(self._data.file, frame, **places)

    def _unpacked(self, frame: int) -> Stored | None:
        """Returns a frame as imagecodecs decodes it, which pydicom has no plugin for."""
        wanted, stream = self._options, self._stream(frame).rstrip(b"\0\xff")  # without its padding
        size = wanted["rows"], wanted["columns"], wanted["samples_per_pixel"]
        photometric = str(wanted["photometric_interpretation"]).removesuffix("_422")
        if self._syntax in _JPEG_2000:
            precision = get_j2k_parameters(stream).get("precision", 0)
            cells = self._codecs.jpeg2k_decode(stream)
            photometric = "RGB" if photometric in ("YBR_ICT", "YBR_RCT") else photometric
        else:
            # The decoders believe the stream's own size, and CharLS waits for ever for the end of one that has none.
            precision, *found = _stream_size(stream)
            if tuple(found) != size or not stream.endswith(b"\xff\xd9"):
                return None
            colors = {} if size[2] == 1 else {"colorspace": "RGB", "outcolorspace": "RGB"}  # unchanged
            is_ls = self._syntax in _JPEG_LS
            cells = self._codecs.jpegls_decode(stream) if is_ls else self._codecs.jpeg8_decode(stream, **colors)
        if cells.shape != (size[:2] if size[2] == 1 else size):
            return None
        bits = min(self._stored_bits, precision)  # whose highest one is the sign, which the stream does not know of
        cells = np.ascontiguousarray(cells).view(f"{'i' if wanted['pixel_representation'] else 'u'}{cells.itemsize}")
        return Stored(cells, photometric, bits, max(bits, min(self._high_bit + 1, precision)) - 1)


def _imagecodecs() -> Any:
    try:
        import imagecodecs
    except ModuleNotFoundError:
        return None
    return imagecodecs


def _stream_size(stream: bytes) -> tuple[int, int, int, int]:
    """Returns the bits, rows, columns and samples that a JPEG or JPEG-LS stream says it has (ITU-T T.81, B.2.2)."""
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
            return stream[place + 4], rows, columns, stream[place + 9]
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
