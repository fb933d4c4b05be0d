"""One name for a class, however a folder spells it."""

import re
import unicodedata
from collections.abc import Iterable

from ctonnx.errors import DataError

__all__ = ["class_name", "reject_collisions"]

# The public Kaggle set names the same class `adenocarcinoma` and `adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib`.
_PLACE_AND_STAGE = re.compile(r"_[a-z.]+_t\d[a-z]?_n\d[a-z]?_m\d[a-z]?_[ivx]+[a-c]?$")
# A minus before a number (`-1`) or at the end (`HER2-`) and the point of a number (`0.5`) tell classes apart.
_MINUS = re.compile(r"(?<![^\s_])-(?=\.?\d)|(?<=[^\W_])-(?=(?:[\s._]*cases?)?$)")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_SEPARATORS = re.compile(r"[\s._-]+")
# IQ-OTH/NCCD names its folders `Bengin cases`, `Malignant cases` and `Normal cases`.
_CASES = re.compile(r" cases?$")
_SPELLINGS = {"bengin": "benign"}


def class_name(folder: str) -> str:
    """Returns the canonical name of the class that a folder's name spells.

    >>> class_name("large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa")
    'large cell carcinoma'
    >>> class_name("Bengin cases"), class_name("HER2-"), class_name("0.5")
    ('benign', 'her2-', '0.5')
    """
    name = _CASES.sub("", _plain(_PLACE_AND_STAGE.sub("", _lower(folder))))
    return _SPELLINGS.get(name, name) or folder


def reject_collisions(folders: Iterable[str], place: object) -> None:
    """Raises DataError where class folders of one split would become one class, or two that are easily mistaken.

    These are folders whose names differ in letters' case, separators, encoding, place and stage, or in a minus at the
    end alone. One with a public set's additions, as `Bengin cases`, may be in a split with one without, as `benign`.

    Args:
        folders: Names of the class folders of a split.
        place: What the error says they are in.
    """
    seen: dict[tuple[str, str], str] = {}
    for folder in sorted(folders):
        spelled = _plain(_PLACE_AND_STAGE.sub(" place and stage", _lower(folder)))
        other = seen.setdefault((class_name(folder).rstrip("-"), spelled.rstrip("-")), folder)
        if other != folder:
            shown, name = f"'{other}' and '{folder}'", class_name(folder)
            how = f"are both read as the class '{name}'" if class_name(other) == name else "differ in a minus alone"
            if unicodedata.normalize("NFKC", other) == unicodedata.normalize("NFKC", folder):
                shown, how = f"{other!a} and {folder!a}", "are one name in two encodings"
            raise DataError(
                f"expected class folders in '{place}' whose names tell them apart, found {shown}, which {how}; rename "
                "one, or say which class each is: --class-name 'FOLDER=NAME'"
            )


def _lower(folder: str) -> str:
    """Returns a name without case, and with plain letters for ligatures and full-width ones: `ﬁbrosis` is one word."""
    folded = unicodedata.normalize("NFKC", folder).casefold()
    return unicodedata.normalize("NFKC", folded).strip()


def _plain(name: str) -> str:
    """Returns a name with spaces for its separators."""
    kept = _POINT.sub("\1", _MINUS.sub("\0", name))
    return _SEPARATORS.sub(" ", kept).strip().replace("\0", "-").replace("\1", ".")
