"""Validation of a DICOM header: the invalid element, and warnings about a frame.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.7.6.3.html (elements of the pixels)
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from ctonnx.images.dicom.hounsfield import material_of, modality_of
from ctonnx.system.text import escape_control

__all__ = [
    "Fault",
    "acquisition_of",
    "cautions_of",
    "check_pixel_elements",
    "find_invalid_element",
    "first_table",
    "number",
    "text_of",
]


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
_DEVICE = {"manufacturer": "Manufacturer", "model": "ManufacturerModelName", "kernel": "ConvolutionKernel"}
_SETTINGS = {"slice_thickness": "SliceThickness", "kvp": "KVP", "pixel_spacing": "PixelSpacing", "bits": "BitsStored"}
_MOST_LETTERS = 64  # of a value; the longest that the standard allows for these elements


class Fault(Exception):
    """Defect of a DICOM file, with a message that contains no patient data."""


def cautions_of(header: Any, *, image_type: Iterable[object], unit: str | None) -> Iterator[str]:
    """Yields the warnings about a frame that is not a slice, not a CT or, by `other_unit`, not in Hounsfield units."""
    terms = list(image_type)
    if any("LOCALIZER" in str(term).upper() for term in terms):
        yield "a localizer (scout), not a slice"
    modality = modality_of(header) or "CT"
    if modality != "CT":
        yield f"not a CT: its modality is {modality if modality in _MODALITIES else 'another'}"
    elif unit is not None:
        yield f"its values are not Hounsfield units: {unit}"
    elif material := material_of(terms):
        yield f"a map of a material, not a slice: its ImageType is {material}"


def acquisition_of(header: Any) -> dict[str, str | float]:
    """Returns the acquisition of an image, as far as it is in the header.

    `manufacturer`, `model` and `kernel` are text; `slice_thickness` and `pixel_spacing` are in mm, `kvp` in kV, `bits`
    those of a stored value. `institution` is the first 16 digits of the SHA-256 of its name, which identify no one who
    does not know the name.
    """
    found: dict[str, str | float] = {}
    for name, keyword in _DEVICE.items():
        if text := text_of(header, keyword):
            found[name] = text
    for name, keyword in _SETTINGS.items():
        with suppress(Exception):
            value = header.get(keyword)
            number_found = float(value[0] if name == "pixel_spacing" else value)
            if math.isfinite(number_found):
                found[name] = number_found
    if institution := text_of(header, "InstitutionName"):
        found["institution"] = hashlib.sha256(institution.upper().encode()).hexdigest()[:16]
    return found


def text_of(header: Any, keyword: str) -> str:
    """Returns an element's text in one line, or its terms joined; empty if it is absent or cannot be read."""
    with suppress(Exception):
        value = header.get(keyword)
        terms = [value] if isinstance(value, str) else list(value or ())
        return escape_control(" ".join(" ".join(map(str, terms)).split()))[:_MOST_LETTERS]
    return ""


def check_pixel_elements(header: Any, pixels: str) -> None:
    """Checks the elements that describe how pixels are stored in the element with the keyword `pixels`.

    Raises:
        Fault: If an element is missing, empty or invalid; the message names it.
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
        _check_table(header, f"{name}Descriptor", (f"{name}Data", f"Segmented{name}Data"))


def first_table(holder: Any, sequence: str) -> Any:
    """Returns the first lookup table of a sequence, which must have items.

    Raises:
        Fault: If the table has no descriptor of three numbers, or no data.
    """
    table = holder.get(sequence)[0]
    _check_table(table, "LUTDescriptor", ("LUTData",), f"the LUTDescriptor of its {sequence}")
    return table


def _check_table(table: Any, descriptor: str, data: tuple[str, ...], named: str | None = None) -> None:
    found = table.get(descriptor)
    if found is None:
        raise Fault(f"it has no {descriptor}" if named is None else f"{named} is missing")
    if not hasattr(found, "__len__") or len(found) != 3 or not _are_numbers(found):
        raise Fault(f"{named or f'its {descriptor}'} is not three numbers")
    if all(table.get(keyword) is None for keyword in data):
        raise Fault(f"it has no {data[0]}")


def find_invalid_element(
    header: Any, keywords: Iterable[str] = _KNOWN, *, needed: Iterable[str] = _ALWAYS
) -> str | None:
    """Returns a description of the first invalid element, or None if all with these keywords are valid."""
    for keyword in keywords:
        try:
            value = header.get(keyword)
        except Exception:
            return f"its {keyword} cannot be read"
        if value is None or value == "":
            if keyword in needed:
                return f"its {keyword} is empty" if keyword in header else f"it has no {keyword}"
        elif keyword in _EXPECTED and value not in _EXPECTED[keyword]:
            return f"its {keyword} has an unknown value"
        elif keyword in _WHOLE and not isinstance(value, int):
            return f"its {keyword} is not a whole number"
        elif keyword in _NUMBERS and not _are_numbers(value):
            return f"its {keyword} is not a number"
    return None


def number(header: Any, keyword: str) -> float | None:
    """Returns an element's number, or None if the element is absent, or empty as after anonymization.

    Raises:
        Fault: If the value is not a finite number.
    """
    with suppress(Exception):
        value = header.get(keyword)
        found = None if value is None or value == "" else float(value)
        if found is None or math.isfinite(found):
            return found
    raise Fault(f"its {keyword} is not a number")


def _are_numbers(value: Any) -> bool:
    try:
        return all(math.isfinite(float(one)) for one in (value if hasattr(value, "__iter__") else [value]))
    except (TypeError, ValueError):
        return False
