"""One name for a class, however a folder spells it."""

import re

__all__ = ["class_name"]

# The public Kaggle set names the same class `adenocarcinoma` and `adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib`.
_PLACE_AND_STAGE = re.compile(r"_[a-z.]+_t\d[a-z]?_n\d[a-z]?_m\d[a-z]?_[ivx]+[a-c]?$")
_SEPARATORS = re.compile(r"[\s._-]+")
# IQ-OTH/NCCD names its folders `Bengin cases`, `Malignant cases` and `Normal cases`.
_CASES = re.compile(r" cases?$")
_SPELLINGS = {"bengin": "benign"}


def class_name(folder: str) -> str:
    """Returns the canonical name of the class that a folder's name spells.

    >>> class_name("large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa")
    'large cell carcinoma'
    >>> class_name("Bengin cases")
    'benign'
    """
    name = _PLACE_AND_STAGE.sub("", folder.strip().lower())
    name = _CASES.sub("", _SEPARATORS.sub(" ", name).strip())
    return _SPELLINGS.get(name, name) or folder
