"""Whether a DICOM image's values are Hounsfield units, which alone suit the model's window, and why they are not.

A modality of CT is not enough: screenshots of a CT have it, maps of dual-energy CT are CT images in other units, and
whatever is derived from a CT keeps its modality.

| object | Hounsfield units |
| --- | --- |
| CT Image Storage, also enhanced and converted | unless its Rescale Type, Image Type or unit names another quantity |
| a screen that was saved, by its Image Type | never |
| secondary capture | of more than 8 bits, and with a Rescale Type of HU |
| parametric map; MR, PET, nuclear medicine, ultrasound | never |
| other kinds that DICOM defines | with a Rescale Type of HU |
| private kinds, or none given | with a modality of CT, or a Rescale Type of HU |

Sources: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html#sect_C.11.1.1.2 (Rescale Type),
https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.8.2.html (CT images and their Image Type),
https://dicom.nema.org/medical/dicom/current/output/chtml/part17/sect_jjjj.3.html (kinds of multi-energy images)
"""

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["CAPTURE", "is_ct_image", "material_of", "modality_of", "other_unit"]

CAPTURE = "it is a secondary capture"
"""Why the greys of a screen are no Hounsfield units."""

_STANDARD = "1.2.840.10008.5.1.4.1.1."  # with which the SOP classes of images begin that DICOM defines
_CT = f"{_STANDARD}2"
_SECONDARY_CAPTURE = f"{_STANDARD}7"
_PARAMETRIC_MAP = f"{_STANDARD}30"

_BLANKS = " \0\t\r\n"  # that writers put around a value
_HOUNSFIELD = "HU"
_RESCALE_TYPES = frozenset({"OD", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT", "ECON"})
_NO_ATTENUATION = frozenset({"MR", "NM", "PT", "US"})  # modalities
# Value 4 of the Image Type of multi-energy CT: these are in Hounsfield units never, and if that is said.
_NEVER = ("EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "MAT_FRACTIONAL", "MAT_VALUE_BASED")
_IF_SAID = ("MAT_SPECIFIC",)
_MATERIALS = (*_NEVER, *_IF_SAID, "MAT_REMOVED", "MAT_MODIFIED")
# What vendors write in place of these terms, as words in a row: the term that stands for them, and is said.
_VENDORS = {
    ("RHO",): "ELECTRON_DENSITY",
    ("ELECTRON", "DENSITY"): "ELECTRON_DENSITY",
    ("ZEFF",): "EFF_ATOMIC_NUM",
    ("Z", "EFF"): "EFF_ATOMIC_NUM",
    ("Z", "EFFECTIVE"): "EFF_ATOMIC_NUM",
    ("EFFECTIVE", "Z"): "EFF_ATOMIC_NUM",
    ("GSI", "MD"): "MAT_VALUE_BASED",
    ("IODINE",): "MAT_SPECIFIC",
}
_SCREENS = frozenset({"SCREENSAVE", "SCREENSHOT", "SCREENCAPTURE"})
_UCUM = "[hnsf'U]"  # the unit's code in a Real World Value Mapping


def is_ct_image(kind: str) -> bool:
    """Says whether a SOP class is one of CT images."""
    return _is_a(kind, _CT)


def material_of(image_type: Iterable[object]) -> str | None:
    """Returns the standard's term for an image that shows a material, or a quantity other than attenuation.

    Args:
        image_type: Values of the Image Type, with the standard's term or a vendor's own words.

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
    return next(
        (meant for words, meant in _VENDORS.items() if any(f" {' '.join(words)} " in text for text in texts)), None
    )


def modality_of(header: Any) -> str:
    """Returns a data set's modality as the standard spells it; empty where there is none.

    >>> modality_of({"Modality": "ct "})
    'CT'
    """
    return _text(header, "Modality")


def other_unit(
    header: Any, transform: Any, *, kind: str, image_type: Iterable[object], units: Iterable[str]
) -> str | None:
    """Returns why values are no Hounsfield units, in words that quote nothing but terms of the standard; else None.

    Args:
        header: of the data set; what is asked of it is `get(keyword)`.
        transform: The frame's, with its rescale or its modality LUT.
        kind: SOP class.
        image_type: Values of the frame's Image Type.
        units: Codes of the frame's Real World Value Mappings.
    """
    terms = list(image_type)
    modality, stated = modality_of(header), _stated(transform)
    is_said = stated == _HOUNSFIELD
    if modality in _NO_ATTENUATION:
        return f"its modality is {modality}"
    if _is_screen(terms) or (_is_a(kind, _SECONDARY_CAPTURE) and not (is_said and _bits(header) > 8)):
        return CAPTURE
    if _is_a(kind, _PARAMETRIC_MAP):
        return "it is a parametric map"
    if stated and not is_said:
        return f"its RescaleType is {stated if stated in _RESCALE_TYPES else 'none that is known'}"
    material = material_of(terms)
    if material in _NEVER or (material in _IF_SAID and not is_said):
        return f"its ImageType is {material}"
    mapped = set(units)
    if mapped and _UCUM not in mapped and not is_said:
        return "its RealWorldValueMappingSequence has another unit"
    if is_ct_image(kind) or is_said:
        return None
    if modality != "CT":
        return "it is no CT"
    return "it is no CT image, but made of one" if kind.startswith(_STANDARD) else None


def _stated(transform: Any) -> str:
    """Returns the unit that a transform says its values have; empty where it says none."""
    luts = transform.get("ModalityLUTSequence")
    stated = _text(luts[0], "ModalityLUTType") if luts else _text(transform, "RescaleType")
    return _HOUNSFIELD if stated in ("HOUNSFIELD", "HOUNSFIELD UNITS", "HOUNSFIELD UNIT") else stated


def _is_screen(image_type: list[object]) -> bool:
    """Says whether an Image Type, of whatever kind of object, is one of a screen that was saved."""
    return any("".join(_words(str(term).upper())) in _SCREENS for term in image_type)


def _words(term: str) -> list[str]:
    return re.findall(r"[A-Z0-9]+", term)


def _is_a(kind: str, family: str) -> bool:
    return kind == family or kind.startswith(f"{family}.")


def _text(header: Any, keyword: str) -> str:
    return str(header.get(keyword) or "").strip(_BLANKS).upper()


def _bits(header: Any) -> int:
    return int(header.get("BitsStored") or header.get("BitsAllocated") or 0)
