"""Whether bytes are a DICOM file's: by its mark, or by the first element of a data set that has none."""

import struct

__all__ = ["HEAD", "begins_as_dicom"]

HEAD = 132
"""Bytes of a file that decide."""

# Elements with which files without a preamble begin, by their group: lengths, the character set, the image's type, the
# SOP class and times. No format that Pillow reads begins so; a TGA file comes nearest.
_FIRST = {
    0x0002: range(0x0014),
    0x0008: (0x0000, 0x0001, 0x0005, 0x0006, 0x0008, *range(0x0012, 0x0019), *range(0x0020, 0x0024)),
}
_LONGEST = 1 << 16  # bytes of such an element


def begins_as_dicom(head: bytes, *, is_named_so: bool) -> bool:
    """Says whether a file is DICOM.

    Args:
        head: its first `HEAD` bytes.
        is_named_so: whether its name has an ending of DICOM files, with which less is asked of its bytes.

    >>> begins_as_dicom(b"\\x08\\0\\x05\\0CS\\x0a\\0ISO_IR 100", is_named_so=False)
    True
    """
    if head[128:132] == b"DICM" or head[:4] == b"DICM":
        return True
    # Without the mark a data set begins with a small group number, of either byte order: no picture file does.
    if is_named_so and (0 < int.from_bytes(head[:2], "little") <= 0x28 or head[:2] == b"\0\x08"):
        return True
    return any(_begins_with_an_element(head, order) for order in "<>")


def _begins_with_an_element(head: bytes, order: str) -> bool:
    if len(head) < 8:
        return False
    group, element, length = struct.unpack(f"{order}HHI", head[:8])
    if element not in _FIRST.get(group, ()):
        return False
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    # The File Meta Information always names types; without them a small TGA file would begin so too.
    return is_explicit or (group != 0x0002 and length < _LONGEST and length % 2 == 0)
