"""Canonical class names for the spellings of class folders."""

import re
import unicodedata
from collections.abc import Iterable

from ctonnx.errors import DataError

__all__ = ["class_name", "reject_collisions"]

# In the public Kaggle set, `adenocarcinoma` and `adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib` are the same class.
_PLACE_AND_STAGE = re.compile(r"_[a-z.]+_t\d[a-z]?_n\d[a-z]?_m\d[a-z]?_[ivx]+[a-c]?$")
# A minus before a number (`-1`) or at the end (`HER2-`) and a decimal point (`0.5`) distinguish classes.
_MINUS = re.compile(r"(?<![^\s_])-(?=\.?\d)|(?<=[^\W_])-(?=(?:[\s._]*cases?)?$)")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_SEPARATORS = re.compile(r"[\s._-]+")
# The folders of IQ-OTH/NCCD are `Bengin cases`, `Malignant cases` and `Normal cases`.
_CASES = re.compile(r" cases?$")
_SPELLINGS = {"bengin": "benign"}


def class_name(folder: str) -> str:
    """Returns the canonical class name for a class folder's name.

    >>> class_name("large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa")
    'large cell carcinoma'
    >>> class_name("Bengin cases"), class_name("HER2-"), class_name("0.5")
    ('benign', 'her2-', '0.5')
    """
    name = _CASES.sub("", _plain(_PLACE_AND_STAGE.sub("", _lower(folder))))
    return _SPELLINGS.get(name, name) or folder


def reject_collisions(folders: Iterable[str], place: object) -> None:
    """Raises DataError if class folders of one split would become one class, or two that are easily confused.

    These are folders whose names differ only in letter case, separators, encoding, place and stage, or in a minus at
    the end. Additions of public datasets, as in `Bengin cases`, may be in a split with the plain name, `benign`.
    """
    seen: dict[tuple[str, str], str] = {}
    for folder in sorted(folders):
        spelled = _plain(_PLACE_AND_STAGE.sub(" place and stage", _lower(folder)))
        other = seen.setdefault((class_name(folder).rstrip("-"), spelled.rstrip("-")), folder)
        if other != folder:
            shown, name = f"'{other}' and '{folder}'", class_name(folder)
            how = f"are both read as the class '{name}'" if class_name(other) == name else "differ only in a minus"
            if unicodedata.normalize("NFKC", other) == unicodedata.normalize("NFKC", folder):
                shown, how = f"{other!a} and {folder!a}", "are one name in two encodings"
            raise DataError(
                f"expected class folders with distinct names in '{place}', found {shown}, which {how}; rename one, or "
                "give each its class: --class-name 'FOLDER=NAME'"
            )


def _lower(folder: str) -> str:
    """Returns a case-folded name with plain letters instead of ligatures and full-width letters, as in `ﬁbrosis`."""
    folded = unicodedata.normalize("NFKC", folder).casefold()
    return unicodedata.normalize("NFKC", folded).strip()


def _plain(name: str) -> str:
    """Returns a name with spaces as separators."""
    kept = _POINT.sub("\1", _MINUS.sub("\0", name))
    return _SEPARATORS.sub(" ", kept).strip().replace("\0", "-").replace("\1", ".")
