"""Validates the DICOM header: which element is invalid, and which values need a caution."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from ctonnx.images.dicom.hounsfield import material_of, modality_of

__all__ = ["Fault", "cautions_of", "find_invalid_element", "first_table", "number", "refuse_faults"]


_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422")
_EXPECTED: dict[str, tuple[object, ...]] = {
    "SamplesPerPixel": (1, 3),
    "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *_COLORS),
    "BitsAllocated": (1, 8, 16, 32, 64),
    "PixelRepresentation": (0, 1),
    "PlanarConfiguration": (0, 1),
}
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated")
_NEEDED_BY_WHOLE_NUMBERS = ("BitsStored", "PixelRepresentation")
_WHOLE = ("Rows", "Columns", "BitsStored", "NumberOfFrames")
_NUMBERS = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")
_MODALITIES = ("CR", "DX", "MG", "MR", "NM", "OT", "PT", "RF", "US", "XA")
_OTHERS = ("PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction")
_KNOWN = (*_EXPECTED, *_WHOLE, *_NUMBERS, *_OTHERS)
_ALWAYS = ("PhotometricInterpretation", "BitsAllocated")
_LUT = ("LUTDescriptor", "LUTData")


class Fault(Exception):
    """What is wrong with a DICOM file, in words that tell nothing of the patient."""


def cautions_of(header: Any, *, image_type: Iterable[object], unit: str | None) -> Iterator[str]:
    """Yields why an answer about a frame should be doubted: it is no slice, no CT, or in no Hounsfield units.

    Args:
        header: Its data set.
        image_type: Values of the frame's Image Type.
        unit: why its values are no Hounsfield units, of `ctonnx.images.dicom.hounsfield.other_unit`; None where they
            are.
    """
    terms = list(image_type)
    if any("LOCALIZER" in str(term).upper() for term in terms):
        yield "a localizer (scout), not a slice"
    modality = modality_of(header) or "CT"
    if modality != "CT":
        yield f"no CT: its modality is {modality if modality in _MODALITIES else 'another'}"
    elif unit is not None:
        yield f"its values are no Hounsfield units: {unit}"
    elif material := material_of(terms):
        yield f"a map of a material, not a slice: its ImageType is {material}"


def refuse_faults(header: Any, pixels: str) -> None:
    """Checks the elements that say how pixels are stored, so that the one that is missing or wrong is named.

    Args:
        header: A pydicom data set.
        pixels: Keyword of the element that holds the pixels.

    Raises:
        Fault: An element is missing, empty, or none that can be.
    """
    needed = (*_NEEDED, *(_NEEDED_BY_WHOLE_NUMBERS if pixels == "PixelData" else ()))
    optional = ("NumberOfFrames", *(["PlanarConfiguration"] if header.get("SamplesPerPixel") == 3 else []))
    if fault := find_invalid_element(header, (*needed, *optional), needed=needed):
        raise Fault(fault)
    if pixels == "PixelData" and not 1 <= header.BitsStored <= header.BitsAllocated:
        raise Fault("its BitsStored is not from 1 to its BitsAllocated")
    if (header.get("NumberOfFrames") or 0) < 0:
        raise Fault("its NumberOfFrames is below 0")
    if header.PhotometricInterpretation != "PALETTE COLOR":
        return
    for color in ("Red", "Green", "Blue"):
        name = f"{color}PaletteColorLookupTable"
        _refuse_odd_table(header, f"{name}Descriptor", (f"{name}Data", f"Segmented{name}Data"))


def first_table(holder: Any, sequence: str) -> Any:
    """Returns the first lookup table of a sequence.

    Args:
        holder: The data set that the sequence is in.
        sequence: Its keyword; it has items.

    Raises:
        Fault: The table has no descriptor of three numbers, or no data.
    """
    table = holder.get(sequence)[0]
    _refuse_odd_table(table, _LUT[0], _LUT[1:], f"the {_LUT[0]} of its {sequence}")
    return table


def _refuse_odd_table(table: Any, descriptor: str, data: tuple[str, ...], named: str | None = None) -> None:
    found = table.get(descriptor)
    inner = f"its {descriptor}" if named is None else named
    if found is None:
        raise Fault(f"it has no {descriptor}" if named is None else f"{named} is missing")
    if not hasattr(found, "__len__") or len(found) != 3 or not _are_numbers(found):
        raise Fault(f"{inner} is not three numbers")
    if all(table.get(keyword) is None for keyword in data):
        raise Fault(f"it has no {data[0]}")


def find_invalid_element(
    header: Any, keywords: Iterable[str] = _KNOWN, *, needed: Iterable[str] = _ALWAYS
) -> str | None:
    """Returns which element of a data set keeps pixels from being read, or None where that is none of those known.

    Args:
        header: A pydicom data set.
        keywords: of the elements that are looked at, in order.
        needed: Keywords of those that must be there.
    """
    for keyword in keywords:
        try:
            value = header.get(keyword)
        except Exception:
            return f"its {keyword} cannot be read"
        if value is None or value == "":
            if keyword in needed:
                return f"its {keyword} is empty" if keyword in header else f"it has no {keyword}"
        elif keyword in _EXPECTED and value not in _EXPECTED[keyword]:
            return f"its {keyword} is none that is known"
        elif keyword in _WHOLE and not isinstance(value, int):
            return f"its {keyword} is no whole number"
        elif keyword in _NUMBERS and not _are_numbers(value):
            return f"its {keyword} is no number"
    return None


def number(header: Any, keyword: str) -> float | None:
    """Returns an element's number, or None where the element is absent or empty, as anonymizers leave it.

    Args:
        header: A pydicom data set.
        keyword: The element's.

    Raises:
        Fault: it is no number.
    """
    try:
        value = header.get(keyword)
        found = None if value is None or value == "" else float(value)
    except Exception as error:
        raise Fault(f"its {keyword} is no number") from error
    if found is not None and not math.isfinite(found):
        raise Fault(f"its {keyword} is no number")
    return found


def _are_numbers(value: Any) -> bool:
    try:
        return all(math.isfinite(float(one)) for one in (value if hasattr(value, "__iter__") else [value]))
    except (TypeError, ValueError):
        return False
