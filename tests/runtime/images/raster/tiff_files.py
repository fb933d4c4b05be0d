"""TIFF files of any kind for the tests, written by the specification and without the reader's code.

Source: TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Order = Literal["<", ">"]

NONE, CCITT_RLE, FAX3, FAX4, LZW, JPEG, DEFLATE, PACKBITS = 1, 2, 3, 4, 5, 7, 8, 32773
OLD_DEFLATE, LZMA, ZSTD, WEBP, JPEG_2000, JPEG_XL = 32946, 34925, 50000, 50001, 34712, 50002
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6


def tiff(
    samples: NDArray[Any],
    *,
    bits: int,
    kind: int = UNSIGNED,
    photometric: int = MIN_IS_BLACK,
    order: Order = "<",
    compression: int = NONE,
    planar: int = 1,
    predictor: int = 1,
    extra: Sequence[int] = (),
    rows: int | None = None,
    tile: tuple[int, int] | None = None,
    fill_order: int = 1,
    big: bool = False,
    tags: Mapping[int, tuple[int, Sequence[int]]] | None = None,
    pages: int = 1,
) -> bytes:
    """Returns a TIFF file.

    Args:
        samples: Values of shape [height, width] or [height, width, channels].
        bits: Number of bits of each sample.
        kind: Sample format: 1 unsigned, 2 signed, 3 float.
        photometric: 0 min is white, 1 min is black, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr.
        order: Byte order, `<` or `>`.
        compression: Value of the tag.
        planar: 1 for the samples of a pixel side by side, 2 for a plane for each.
        predictor: 1 none, 2 differences, 3 differences of floats.
        extra: Meaning of each sample after the colours: 0 unspecified, 1 associated alpha, 2 alpha.
        rows: Number of rows in a strip; None is all.
        tile: Height and width of a tile; None writes strips.
        fill_order: 2 reverses the bits of each byte.
        big: Whether to write a BigTIFF.
        tags: Additional or replaced tags: the type (3 short, 4 long, 1 byte, 2 text) and the values.
        pages: Number of identical pages.
    """
    samples = samples[:, :, None] if samples.ndim == 2 else samples
    height, width, channels = samples.shape
    planes = [samples] if planar == 1 else [samples[:, :, i : i + 1] for i in range(channels)]
    step_y, step_x = tile or (rows or height, width)
    parts = []
    for plane in planes:
        for top in range(0, height, step_y):
            for left in range(0, width, step_x):
                part = plane[top : top + step_y, left : left + step_x]
                if tile:
                    missing = (0, step_y - part.shape[0]), (0, step_x - part.shape[1]), (0, 0)
                    part = np.pad(part, missing, mode="edge")
                data = _encoded(np.ascontiguousarray(part), bits, kind, order, compression, predictor, photometric)
                parts.append(imagecodecs.bitorder_encode(data) if fill_order == 2 else data)
    long = 16 if big else 4
    fields: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * channels),
        259: (3, [compression]),
        262: (3, [photometric]),
        266: (3, [fill_order]),
        277: (3, [channels]),
        284: (3, [planar]),
        317: (3, [predictor]),
        339: (3, [kind] * channels),
    }
    offsets_tag, counts_tag = (324, 325) if tile else (273, 279)
    fields |= {322: (4, [step_x]), 323: (4, [step_y])} if tile else {278: (4, [step_y])}
    if extra:
        fields[338] = (3, list(extra))
    fields |= tags or {}
    begin = 16 if big else 8
    offsets = [begin + sum(map(len, parts[:i])) for i in range(len(parts))]
    fields |= {offsets_tag: (long, offsets), counts_tag: (long, [len(part) for part in parts])}
    body = b"".join(parts)
    body += b"\0" * (len(body) % 2)
    mark = b"II" if order == "<" else b"MM"
    head = mark + (
        struct.pack(order + "HHHQ", 43, 8, 0, begin + len(body))
        if big
        else struct.pack(order + "HI", 42, begin + len(body))
    )
    whole = head + body
    for page in range(pages):
        whole += _directory(fields, order, len(whole), big, last=page == pages - 1)
    return whole


def _directory(
    fields: Mapping[int, tuple[int, Sequence[int]]], order: Order, at: int, big: bool, *, last: bool
) -> bytes:
    count_code, value_code, room = ("Q", "Q", 8) if big else ("H", "I", 4)
    entry = 12 if not big else 20
    after = at + struct.calcsize("<" + count_code) + entry * len(fields) + room
    letters = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 12: "d", 13: "I", 16: "Q"}
    listed = struct.pack(order + count_code, len(fields))
    outside = b""
    for tag, (kind, values) in sorted(fields.items()):
        raw = struct.pack(order + letters[kind] * len(values), *values)
        count = len(values) // 2 if kind == 5 else len(values)
        listed += struct.pack(order + "HH" + value_code, tag, kind, count)
        if len(raw) > room:
            listed += struct.pack(order + value_code, after + len(outside))
            outside += raw + b"\0" * (len(raw) % 2)
        else:
            listed += raw.ljust(room, b"\0")
    end = after + len(outside)
    return listed + struct.pack(order + value_code, 0 if last else end) + outside


def _encoded(
    part: NDArray[Any], bits: int, kind: int, order: Order, compression: int, predictor: int, photometric: int
) -> bytes:
    """Returns a strip or a tile, packed and compressed."""
    whole: Any = part.astype(_dtype(bits, kind)) if bits in (8, 16, 32, 64) else part
    if compression == JPEG:
        colour = {MIN_IS_BLACK: "GRAYSCALE", MIN_IS_WHITE: "GRAYSCALE", RGB: "RGB", YCBCR: "RGB", CMYK: "CMYK"}
        stored = "YCBCR" if photometric == YCBCR else colour[photometric]
        single = whole[:, :, 0] if whole.shape[2] == 1 else whole
        colours: dict[str, Any] = (
            {} if single.ndim == 2 else {"colorspace": colour[photometric], "outcolorspace": stored}
        )
        encoded = imagecodecs.jpeg_encode(single, level=100, subsampling="444", bitspersample=bits, **colours)
        return bytes(encoded)
    if compression == JPEG_2000:
        return bytes(imagecodecs.jpeg2k_encode(whole, level=0, reversible=True, bitspersample=bits, codecformat="j2k"))
    if compression == JPEG_XL:
        return bytes(imagecodecs.jpegxl_encode(whole, lossless=True))
    if compression == WEBP:
        return bytes(imagecodecs.webp_encode(whole, lossless=True))
    if compression in (CCITT_RLE, FAX3, FAX4):
        encode = {CCITT_RLE: "ccittrle_encode", FAX3: "ccittfax3_encode", FAX4: "ccittfax4_encode"}[compression]
        return bytes(getattr(imagecodecs, encode)(part[:, :, 0].astype(np.uint8)))
    if predictor == 2 and bits in (8, 16, 32, 64):
        codes = whole.view(f"u{bits // 8}")
        whole = np.concatenate([codes[:, :1], codes[:, 1:] - codes[:, :-1]], axis=1)
    if predictor == 3:
        raw = bytes(imagecodecs.floatpred_encode(np.ascontiguousarray(whole), axis=-2, dist=1).tobytes())
    elif bits == 24 and kind == FLOAT:
        raw = bytes(imagecodecs.float24_encode(part.astype(np.float32), byteorder=order))
    elif bits in (8, 16, 32, 64):
        raw = whole.astype(whole.dtype.newbyteorder(order)).tobytes()
    else:
        raw = packed(part, bits, order)
    if compression == NONE:
        return raw
    names = {LZW: "lzw", DEFLATE: "zlib", OLD_DEFLATE: "zlib", PACKBITS: "packbits", ZSTD: "zstd", LZMA: "lzma"}
    return bytes(getattr(imagecodecs, names[compression] + "_encode")(raw))


def packed(part: NDArray[Any], bits: int, order: Order = ">") -> bytes:
    """Returns integers of any number of bits, most significant bit first; each row begins a byte.

    The byte order applies to integers of whole bytes, such as 24 bits.
    """
    codes = np.asarray(part, np.int64).astype(np.uint64) & np.uint64(2**bits - 1)
    if bits % 8 == 0 and order == "<":
        every = codes.reshape(-1).astype("<u8").view(np.uint8).reshape(-1, 8)[:, : bits // 8]
        return every.tobytes()
    places = np.arange(bits - 1, -1, -1, dtype=np.uint64)
    flags = (codes.reshape(part.shape[0], -1)[:, :, None] >> places) & np.uint64(1)
    return np.packbits(flags.reshape(part.shape[0], -1).astype(np.uint8), axis=1).tobytes()


def _dtype(bits: int, kind: int) -> np.dtype[Any]:
    return np.dtype({UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}[kind] + str(bits // 8))


def limits(bits: int, kind: int) -> tuple[float, float]:
    """Returns the minimum and maximum of a sample; 0 and 1 for floats."""
    if kind == FLOAT:
        return 0.0, 1.0
    return (0, 2**bits - 1) if kind == UNSIGNED else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def ramp(unit: NDArray[np.float64], bits: int, kind: int) -> NDArray[Any]:
    """Returns values of 0 to 1 scaled to the range of a sample."""
    low, high = limits(bits, kind)
    if kind == FLOAT:
        return unit
    # With integers: a float does not have 64 bits.
    parts = np.rint(unit * 2**20).astype(np.int64).astype(object)
    values = (parts * (int(high) - int(low)) // 2**20) + int(low)
    return values.astype(np.int64 if kind == SIGNED else np.uint64)
