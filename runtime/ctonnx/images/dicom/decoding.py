"""Stored pixels of the frames of a DICOM file, for each transfer syntax.

Each compression has one decoder, whatever else is installed: the same file gives the same pixels everywhere. GDCM is
never used: damaged bytes make it terminate the whole process.

Source: https://pydicom.github.io/pydicom/stable/reference/pixels.html
"""

from contextlib import suppress
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
from ctonnx.images.dicom.stored_bits import contradicts_high_bit, value_bits

__all__ = ["Frames", "Stored"]

_PADDING = 16  # bytes after the pixels that are accepted even if a line of the image is shorter
_LEAST_FRAME = 8  # bytes of a compressed frame: the header of its item

# Decoding plugin of pydicom for each syntax; "" for uncompressed pixels.
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
    """Stored values of a frame.

    Attributes:
        cells: Numbers in the machine's byte order, [rows, columns], or [rows, columns, 3] for colour; the bits around
            the values are unchanged.
        photometric: Photometric Interpretation of the values.
        bits: Number of bits of a value.
        high_bit: Position of a value's highest bit.
    """

    cells: NDArray[Any]
    photometric: str
    bits: int
    high_bit: int

    def values(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Returns the values in cells that are stored like this frame's."""
        if cells.dtype.kind not in "iu":
            return cells
        return value_bits(cells, bits_stored=self.bits, high_bit=self.high_bit)


class Frames:
    """Frames of a dataset whose elements passed `ctonnx.images.dicom.header.check_pixel_elements`.

    Attributes:
        count: Number of frames.

    Raises:
        Fault: If the pixels contradict the other elements.
        ImageError: If the compression is not supported.
    """

    def __init__(self, data: DataSet, pixels: PixelElement, name: str) -> None:
        self._data, self._pixels, self._name, self._header = data, pixels, name, data.header
        header = data.header
        self.count = max(1, int(header.get("NumberOfFrames") or 1))
        self._syntax = self._encoding()
        self._check_length()
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
        """Returns the stored values of a frame, counted from 0.

        Raises:
            ImageError: If the frame cannot be decoded.
            Fault: If its High Bit is wrong.
        """
        self._data.file.seek(self._pixels.begin)
        stored = self._unpacked(frame) if self._codecs else None
        if not self._codecs:
            with suppress(RuntimeError):  # from a decoder; not chained, as pydicom's message may quote the header
                stored = self._decoded(frame)
        if stored is None:
            raise ImageError(f"damaged DICOM file, or a variant of {self._syntax.name} that cannot be read", self._name)
        if stored.cells.dtype.kind in "iu" and contradicts_high_bit(
            stored.cells, bits_stored=stored.bits, high_bit=stored.high_bit
        ):
            begin = stored.high_bit + 1 - stored.bits
            raise Fault(f"its HighBit puts the first bit of a pixel at {begin}, but it is at 0")
        return stored

    def _encoding(self) -> uid.UID:
        """Returns the transfer syntax of the pixels; raises an error if it is not supported."""
        label, plain, header = self._data.label, self._data.plain, self._header
        if not self._pixels.in_fragments:
            # Compressed pixels are in fragments: the label is wrong, or the pixels are.
            count = self._plain_bytes()
            if not label or label in _UNCOMPRESSED or self._pixels.length in (count, count + count % 2):
                self._codecs: Any = None
                return plain
        if not label:
            raise Fault("its encoding is unknown: it has no TransferSyntaxUID")
        if self._pixels.in_fragments and label in _UNCOMPRESSED:
            raise Fault("its TransferSyntaxUID is for uncompressed pixels, but its pixels are compressed")
        how = f"as {label.name}" if label.is_valid and label.name != label else "in an unknown way"
        if label not in _PLUGINS and label not in _IMAGECODECS:
            raise ImageError(f"a DICOM file compressed {how}, which is not supported", self._name)
        if not self._pixels.in_fragments:
            raise Fault("its TransferSyntaxUID is for compressed pixels, but its pixels are uncompressed")
        deep = int(header.get("BitsStored") or header.BitsAllocated) > 8  # more than Pillow reads in these syntaxes
        is_deep = deep and (label == uid.JPEGExtended12Bit or (label in _JPEG_2000 and int(header.SamplesPerPixel) > 1))
        self._codecs = None
        if label in _IMAGECODECS or is_deep:
            with suppress(ModuleNotFoundError):
                import imagecodecs

                self._codecs = imagecodecs
            if self._codecs is None:
                needed = 'imagecodecs; pip install "ctonnx[dicom]"'
                raise ImageError(f"a DICOM file compressed {how}, which needs {needed}", self._name)
        return label

    def _plain_bytes(self) -> int:
        """Returns the number of bytes of the frames if they are uncompressed."""
        header = self._header
        samples = 2 if header.PhotometricInterpretation == "YBR_FULL_422" else int(header.SamplesPerPixel)
        bits = samples * int(header.BitsAllocated)
        return (self.count * int(header.Rows) * int(header.Columns) * bits + 7) // 8

    def _check_length(self) -> None:
        """Checks the number of bytes against the elements, which may claim millions of frames."""
        header, length = self._header, self._pixels.length
        rows, columns = int(header.Rows), int(header.Columns)
        least, line = self.count * _LEAST_FRAME, 0
        if not self._syntax.is_compressed:
            least = self._plain_bytes()
            line = min(rows, columns) * least // (self.count * rows * columns)
        if least > self._data.size - self._pixels.begin:
            lack = f"cannot hold {self.count} frames (NumberOfFrames)" if self.count > 1 else "ends too early"
            raise Fault(f"its {self._pixels.keyword} {lack}")
        # An extra line means another geometry (a sheared image); less is padding: one byte by PS3.5, 8.1.1, often more.
        if line and length != NO_LENGTH and length - least >= max(line, _PADDING):
            raise Fault(
                f"its {self._pixels.keyword} has {length} bytes, where {self.count} x {rows} x {columns} pixels "
                f"(NumberOfFrames, Rows, Columns) take {least}"
            )

    def _decoded(self, frame: int) -> Stored:
        """Decodes a frame with pydicom."""
        cells, found = get_decoder(self._syntax).as_array(
            self._data.file,
            index=frame,
            raw=True,
            decoding_plugin=_PLUGINS[self._syntax],
            **{**self._options, "correct_unused_bits": False},
        )
        high_bit = self._high_bit
        if self._syntax in _JPEG_2000 and high_bit >= self._stored_bits:  # a stream of fewer bits does not keep it
            precision = get_j2k_parameters(self._stream(frame)).get("precision", high_bit + 1)
            high_bit = max(self._stored_bits, min(high_bit + 1, precision)) - 1
        cells = np.ascontiguousarray(cells, cells.dtype.newbyteorder("="))
        return Stored(cells, str(found["photometric_interpretation"]), self._stored_bits, high_bit)

    def _stream(self, frame: int) -> bytes:
        wanted = self._options
        places: dict[str, Any] = {name: wanted.get(name) for name in ("number_of_frames", "extended_offsets")}
        return get_frame(self._data.file, frame, **places)

    def _unpacked(self, frame: int) -> Stored | None:
        """Decodes a frame with imagecodecs, for syntaxes without a plugin of pydicom; None if it is damaged."""
        wanted, stream = self._options, self._stream(frame).rstrip(b"\0\xff")  # without its padding
        size = wanted["rows"], wanted["columns"], wanted["samples_per_pixel"]
        photometric = str(wanted["photometric_interpretation"]).removesuffix("_422")
        if self._syntax in _JPEG_2000:
            precision = get_j2k_parameters(stream).get("precision", 0)
            cells = self._codecs.jpeg2k_decode(stream)
            photometric = "RGB" if photometric in ("YBR_ICT", "YBR_RCT") else photometric
        else:
            # The decoders trust the stream's own size, and CharLS waits forever for a missing end of the stream.
            precision, *found = _stream_size(stream)
            if tuple(found) != size or not stream.endswith(b"\xff\xd9"):
                return None
            colors = {} if size[2] == 1 else {"colorspace": "RGB", "outcolorspace": "RGB"}  # unchanged
            is_ls = self._syntax in _JPEG_LS
            cells = self._codecs.jpegls_decode(stream) if is_ls else self._codecs.jpeg8_decode(stream, **colors)
        if cells.shape != (size[:2] if size[2] == 1 else size):
            return None
        bits = min(self._stored_bits, precision)  # the highest one is the sign, which the stream does not record
        cells = np.ascontiguousarray(cells).view(f"{'i' if wanted['pixel_representation'] else 'u'}{cells.itemsize}")
        return Stored(cells, photometric, bits, max(bits, min(self._high_bit + 1, precision)) - 1)


def _stream_size(stream: bytes) -> tuple[int, int, int, int]:
    """Returns the bits, rows, columns and samples in a JPEG or JPEG-LS stream's header (ITU-T T.81, B.2.2)."""
    place = 2
    while True:
        marker = stream[place + 1]
        if stream[place] != 0xFF:
            raise ValueError("no marker")
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = (int.from_bytes(stream[place + at : place + at + 2], "big") for at in (5, 7))
            return stream[place + 4], rows, columns, stream[place + 9]
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
