"""Detection of DICOM images whose values are Hounsfield units: only these suit the model's window.

A modality of CT is not enough: screenshots of a CT have it, maps of dual-energy CT are CT images in other units, and
objects derived from a CT keep its modality.

| object | Hounsfield units |
| --- | --- |
| CT Image Storage, also enhanced and converted | unless its Rescale Type, Image Type or unit names another quantity |
| a saved screen, by its Image Type | never |
| secondary capture | with more than 8 bits and a Rescale Type of HU |
| parametric map; MR, PET, nuclear medicine, ultrasound | never |
| other SOP classes of DICOM | with a Rescale Type of HU |
| private or missing SOP class | with a modality of CT, or a Rescale Type of HU |

Sources: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html#sect_C.11.1.1.2 (Rescale Type),
https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.8.2.html (CT images and their Image Type),
https://dicom.nema.org/medical/dicom/current/output/chtml/part17/sect_jjjj.3.html (kinds of multi-energy images)
"""

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["CAPTURE", "is_ct_image", "material_of", "modality_of", "other_unit"]

CAPTURE = "it is a secondary capture"
"""Reason why a screen's values are not Hounsfield units."""

_STANDARD = "1.2.840.10008.5.1.4.1.1."  # prefix of DICOM's own SOP classes of images
_CT = f"{_STANDARD}2"
_SECONDARY_CAPTURE = f"{_STANDARD}7"
_PARAMETRIC_MAP = f"{_STANDARD}30"

_BLANKS = " \0\t\r\n"  # around a value
_HOUNSFIELD = "HU"
_RESCALE_TYPES = frozenset({"OD", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT", "ECON"})
_NO_ATTENUATION = frozenset({"MR", "NM", "PT", "US"})  # modalities
# Value 4 of the Image Type of multi-energy CT: never in Hounsfield units, and only with a Rescale Type of HU.
_NEVER = ("EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "MAT_FRACTIONAL", "MAT_VALUE_BASED")
_IF_STATED = ("MAT_SPECIFIC",)
_MATERIALS = (*_NEVER, *_IF_STATED, "MAT_REMOVED", "MAT_MODIFIED")
# Consecutive words that vendors write instead of these terms, by term.
_VENDORS = {
    "ELECTRON_DENSITY": ("RHO", "ELECTRON DENSITY"),
    "EFF_ATOMIC_NUM": ("ZEFF", "Z EFF", "Z EFFECTIVE", "EFFECTIVE Z"),
    "MAT_VALUE_BASED": ("GSI MD",),
    "MAT_SPECIFIC": ("IODINE",),
}
_SCREENS = frozenset({"SCREENSAVE", "SCREENSHOT", "SCREENCAPTURE"})
_UCUM = "[hnsf'U]"  # the unit's code in a Real World Value Mapping


def is_ct_image(kind: str) -> bool:
    """Returns whether a SOP class is one of CT images."""
    return _is_a(kind, _CT)


def material_of(image_type: Iterable[object]) -> str | None:
    """Returns the standard's term for a map of a material or of a quantity other than attenuation, otherwise None.

    >>> material_of(["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"])
    'MAT_SPECIFIC'
    >>> material_of(["DERIVED", "PRIMARY", "AXIAL", "VMI"])  # of one energy, in Hounsfield units
    >>> material_of(["DERIVED", "SECONDARY", "AXIAL", "GSI MD"])
    'MAT_VALUE_BASED'
    """
    terms = [str(term).strip(_BLANKS).upper() for term in image_type]
    if of_standard := next((term for term in terms if term in _MATERIALS), None):
        return of_standard
    texts = [f" {' '.join(_words(term))} " for term in terms]
    spoken = ((meant, f" {words} ") for meant, known in _VENDORS.items() for words in known)
    return next((meant for meant, words in spoken if any(words in text for text in texts)), None)


def modality_of(header: Any) -> str:
    """Returns a dataset's modality in the standard's spelling, or an empty string.

    >>> modality_of({"Modality": "ct "})
    'CT'
    """
    return _text(header, "Modality")


def other_unit(
    header: Any, transform: Any, *, kind: str, image_type: Iterable[object], units: Iterable[str]
) -> str | None:
    """Returns the reason why values are not Hounsfield units, or None if they are.

    The reason quotes only terms of the standard, never a value of the file. `transform` has the frame's rescale or
    modality LUT, `kind` is the SOP class, and `units` are the codes of the frame's Real World Value Mappings.
    """
    terms = list(image_type)
    is_screen = any("".join(_words(str(term).upper())) in _SCREENS for term in terms)
    modality, stated = modality_of(header), _stated(transform)
    is_stated = stated == _HOUNSFIELD
    if modality in _NO_ATTENUATION:
        return f"its modality is {modality}"
    if is_screen or (_is_a(kind, _SECONDARY_CAPTURE) and not (is_stated and _bits(header) > 8)):
        return CAPTURE
    if _is_a(kind, _PARAMETRIC_MAP):
        return "it is a parametric map"
    if stated and not is_stated:
        return f"its RescaleType is {stated if stated in _RESCALE_TYPES else 'unknown'}"
    material = material_of(terms)
    if material in _NEVER or (material in _IF_STATED and not is_stated):
        return f"its ImageType is {material}"
    mapped = set(units)
    if mapped and _UCUM not in mapped and not is_stated:
        return "its RealWorldValueMappingSequence has another unit"
    if is_ct_image(kind) or is_stated:
        return None
    if modality != "CT":
        return "it is not a CT"
    return "it is not a CT image, but derived from one" if kind.startswith(_STANDARD) else None


def _stated(transform: Any) -> str:
    """Returns the unit that a transform states, or an empty string."""
    luts = transform.get("ModalityLUTSequence")
    stated = _text(luts[0], "ModalityLUTType") if luts else _text(transform, "RescaleType")
    return _HOUNSFIELD if stated in ("HOUNSFIELD", "HOUNSFIELD UNITS", "HOUNSFIELD UNIT") else stated


def _words(term: str) -> list[str]:
    return re.findall(r"[A-Z0-9]+", term)


def _is_a(kind: str, family: str) -> bool:
    return kind == family or kind.startswith(f"{family}.")


def _text(header: Any, keyword: str) -> str:
    return str(header.get(keyword) or "").strip(_BLANKS).upper()


def _bits(header: Any) -> int:
    return int(header.get("BitsStored") or header.get("BitsAllocated") or 0)
