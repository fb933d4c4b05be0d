"""Codes of classes and of the model's own terms: from a site's table, else of the private scheme `99CTONNX`.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/chapter_8.html (coded entries; private schemes
begin with 99)
"""

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from highdicom.sr import CodedConcept

from ctonnx.errors import CtonnxError
from ctonnx.system.file_reading import read_text, reason_of
from ctonnx.system.text import escape_control

__all__ = ["PRIVATE_SCHEME", "ClassCodes", "private_code"]

PRIVATE_SCHEME = "99CTONNX"
"""Coding Scheme Designator of terms without a code of a standard."""

_COLUMNS = ("class", "scheme", "value", "meaning")
_SCHEME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,15}")
_VALUE = re.compile(r"[!-\[\]-~]{1,64}")  # ASCII without a space and a backslash, which separates values
_SNOMED = re.compile(r"[1-9]\d{5,17}")
_MOST_LETTERS = 64  # of a Code Meaning
# Verhoeff's tables: the multiplication of the dihedral group D5, and a permutation that is applied repeatedly.
_GROUP = ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
          "5987604321", "6598710432", "7659821043", "8765932104", "9876543210")  # fmt: skip
_PERMUTED = "1576283094"


class _Row(NamedTuple):
    scheme: str
    value: str
    meaning: str


class ClassCodes:
    """Codes of a model's classes.

    Args:
        rows: Scheme, value and meaning of classes; the others have a private code.
    """

    def __init__(self, rows: Mapping[str, tuple[str, str, str]] | None = None) -> None:
        self._rows = {name: _Row(*row) for name, row in (rows or {}).items()}

    @classmethod
    def read(cls, file: Path, classes: Sequence[str]) -> "ClassCodes":
        """Reads a CSV file with the columns `class`, `scheme`, `value` and `meaning`.

        A SNOMED CT code (scheme `SCT`) must have a right check digit, as a spreadsheet may have rounded it.

        Args:
            file: CSV file in UTF-8.
            classes: Classes of the model; those without a row have a private code.

        Raises:
            CtonnxError: If the file cannot be read, or a row is wrong; the message names the file and the line.
        """
        try:
            text = read_text(file)
        except (OSError, UnicodeDecodeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8"
            raise CtonnxError(f"expected a CSV file with codes in '{file}', cannot read it ({reason})") from error
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows: dict[str, _Row] = {}
        try:
            head = [name.strip().lower() for name in next(reader, [])]
            if not set(_COLUMNS) <= set(head):
                raise ValueError(f"expected the columns {', '.join(_COLUMNS)}, found {', '.join(head) or 'none'}")
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    name, row = _parsed(dict(zip(head, map(str.strip, cells), strict=False)), classes)
                    if name in rows:
                        raise ValueError(f"expected each class once, found '{name}' again")
                    rows[name] = row
        except (ValueError, csv.Error) as error:
            message = escape_control(f"{file}, line {max(1, reader.line_num)}: {error}")
            raise CtonnxError(message) from error
        return cls(rows)

    def of(self, name: str) -> CodedConcept:
        """Returns the code of a class."""
        if (row := self._rows.get(name)) is not None:
            return CodedConcept(row.value, row.scheme, row.meaning)
        digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return private_code(f"class-{digits[:10]}", name)

    @property
    def schemes(self) -> set[str]:
        """Private schemes of these codes besides `PRIVATE_SCHEME`."""
        return {row.scheme for row in self._rows.values() if row.scheme.startswith("99")} - {PRIVATE_SCHEME}

    @property
    def parts(self) -> list[str]:
        """The codes as texts, in the order of the classes' names."""
        return [text for name in sorted(self._rows) for text in (name, *self._rows[name])]


def private_code(value: str, meaning: str) -> CodedConcept:
    """Returns a code of the private scheme; a meaning is cut to the length that the standard allows.

    >>> private_code("refer", "Refer").value
    'refer'
    """
    return CodedConcept(value, PRIVATE_SCHEME, _cut(meaning))


def _parsed(cells: Mapping[str, str], classes: Sequence[str]) -> tuple[str, _Row]:
    """Returns the class and the code of a row.

    Raises:
        ValueError: If a cell is wrong.
    """
    name, scheme, value, meaning = (cells.get(column, "") for column in _COLUMNS)
    if name not in classes:
        raise ValueError(f"expected a class of the model ({', '.join(classes)}), found '{name}'")
    if not _SCHEME.fullmatch(scheme):
        raise ValueError(f"expected a scheme of 1 to 16 letters and digits, such as SCT, found '{scheme}'")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"expected a value of 1 to 64 letters and digits, found '{value}'")
    if scheme == "SCT" and not _is_snomed(value):
        raise ValueError(f"expected a SNOMED CT identifier with its check digit, found '{value}'; import it as text")
    if not meaning or meaning != _cut(meaning):
        raise ValueError(f"expected a meaning of 1 to {_MOST_LETTERS} letters, found '{meaning}'")
    return name, _Row(scheme, value, meaning)


def _cut(text: str) -> str:
    """Returns a text that a Code Meaning may be: without a backslash, and not too long."""
    return escape_control(text).replace("\\", "/")[:_MOST_LETTERS].strip() or "?"


def _is_snomed(value: str) -> bool:
    """Returns whether a value is a SNOMED CT identifier by its length and check digit.

    Source: SNOMED CT Release File Specifications, "Check-digit" (Verhoeff's dihedral check)

    >>> _is_snomed("363358000"), _is_snomed("363358001")
    (True, False)
    """
    if not _SNOMED.fullmatch(value):
        return False
    check = 0
    for place, digit in enumerate(reversed(value)):
        number = int(digit)
        for _ in range(place % 8):
            number = int(_PERMUTED[number])
        check = int(_GROUP[check][number])
    return check == 0
