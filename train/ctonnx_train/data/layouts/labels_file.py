"""Reads a dataset from a labels file: a CSV with a row for each image, its class, and optionally its patient.

| column | content |
| --- | --- |
| `path` | image, relative to the file's folder |
| `label` | class |
| `patient`, `study`, `series` | identifiers, of which only pseudonyms are kept; optional |
| `split` | train, valid or test, or another name that a split's folder may have; optional, in all rows or in none |
| others | subgroups, such as `sex`, `age` in years, `site` and `scanner` |

The separator is a comma, a semicolon or a tab, the encoding UTF-8. Every image is in one row, and every row has its
image; a study is in all rows of a patient or in none, a series in all rows of a patient's study or in none. The first
faults of each kind are named with their lines. Identifiers are in no message.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.prediction.inputs import is_scan, list_files
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.system.file_reading import read_bytes, reason_of
from ctonnx.system.text import counted, quoted
from ctonnx_train.data.dataset import Dataset, check_class_names
from ctonnx_train.data.layouts.class_names import class_name, reject_collisions
from ctonnx_train.data.layouts.split_names import parts_of
from ctonnx_train.data.patients import Patients, age_band, why_no_subgroup
from ctonnx_train.data.phantom.phantom_set import MARKER, is_phantom_set
from ctonnx_train.data.splits import SPLITS, Sample, Split

__all__ = ["labelled_files", "labels_in", "read_labels_file"]

_NEEDED = ("path", "label")
_IDENTIFIERS = ("patient", "study", "series")
_COLUMNS = (*_NEEDED, *_IDENTIFIERS, "split")
_SEPARATORS = ",;\t"
_SYNONYMS = {
    **dict.fromkeys(("patientid", "subject", "subjectid", "mrn", "pid"), "patient"),
    **dict.fromkeys(("studyid", "studyuid", "studyinstanceuid"), "study"),
    **dict.fromkeys(("seriesid", "seriesuid", "seriesinstanceuid"), "series"),
}
"""Columns by the letters and digits of other names that they often have."""

_SHOWN = 3
_MOST_BYTES = 1 << 28
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row of a labels file: its first line, its fields by column, and its image's absolute path."""

    line: int
    fields: Mapping[str, str]
    file: str

    def shown(self, column: str) -> str:
        return f"line {self.line}: '{self.fields[column]}'"


class _Faults:
    """Faults of a labels file, counted by kind."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._found: dict[str, tuple[str, list[str]]] = {}

    def add(self, one: str, several: str, where: str) -> None:
        """Counts a fault, with its kind in the singular and in the plural."""
        self._found.setdefault(one, (several, []))[1].append(where)

    def check(self) -> None:
        """Raises DataError if there are faults; it names the first three of each kind."""
        if not self._found:
            return
        kinds = []
        for one, (several, places) in self._found.items():
            more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
            title = one if len(places) == 1 else several
            kinds.append(f"{len(places)} {title} ({', '.join(places[:_SHOWN])}{more})")
        raise DataError(
            f"expected a row for each image and an image for each row in '{self._file}', found {'; '.join(kinds)}; "
            "correct the file, or move images that do not belong to the dataset to another folder"
        )


def read_labels_file(
    file: Path,
    root: Path,
    *,
    class_names: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    known: Iterable[str] = (),
    pseudonyms: Pseudonyms | None = None,
) -> Dataset:
    """Reads the dataset that a labels file describes.

    Args:
        file: CSV file.
        root: Folder that contains all images of the file, and no others.
        class_names: Canonical class names by label.
        classes: Classes of the evaluated model, a superset of the dataset's; None uses those of the training images.
        known: Labels that `class_names` will contain when the file is read again.
        pseudonyms: Pseudonyms of patients, studies and series; None uses a new key.

    Raises:
        DataError: The file cannot be read, lacks columns, or does not match the images; or there are fewer than two
            classes, or unknown ones.
    """
    if not root.is_dir():
        raise DataError(
            f"expected the folder with the images of '{file}' at '{root}', found "
            f"{'another file' if root.exists() else 'nothing'}; name the folder, or leave DATA out if it is the file's"
        )
    columns, rows = _read(file)
    faults = _Faults(file)
    others, localizers = _match_images(file, root, rows, faults)
    split_of = _splits_of(columns, rows, faults)
    if "patient" in columns and any(row.fields["patient"] for row in rows):
        for row in rows:
            if not row.fields["patient"]:
                faults.add("row without a patient", "rows without a patient, which others have", f"line {row.line}")
        _find_incomplete(rows, "study", ("patient",), faults)
        _find_incomplete(rows, "series", ("patient", "study"), faults)
    for row in rows:
        if not row.fields["label"]:
            faults.add("row without a label", "rows without a label", f"line {row.line}")
    faults.check()
    names = _names(file, [row.fields["label"] for row in rows], class_names or {}, known)
    trained = {
        names[row.fields["label"]] for row in rows if split_of.get(row.fields.get("split", ""), "train") == "train"
    }
    if classes is None and len(trained) < 2:
        raise DataError(
            f"expected training images of two or more classes in '{file}', found {quoted(sorted(trained)) or 'none'}; "
            "check the columns 'label' and 'split'"
        )
    whose = "training images'" if classes is None else "model's"
    classes = tuple(sorted(trained)) if classes is None else tuple(classes)
    if unknown := sorted(set(names.values()) - set(classes)):
        elsewhere = "" if whose.startswith("training") else "; for other classes: ctonnx evaluate --external"
        raise DataError(
            f"expected only the {whose} classes ({quoted(classes)}) in '{file}', found {quoted(unknown)} too; correct "
            f"the labels or use --class-name OLD=NEW{elsewhere}"
        )
    number = {name: position for position, name in enumerate(classes)}
    start = len(os.path.join(root.resolve(), ""))
    path_of = {row.line: row.file[start:].replace(os.sep, "/") for row in rows}
    splits: dict[Split, list[Sample]] = {split: [] for split in SPLITS}
    for row in rows:
        split = split_of.get(row.fields.get("split", ""), "train")
        splits[split].append(Sample(path_of[row.line], number[names[row.fields["label"]]]))
    wanted: tuple[Split, ...] = ("valid",) if split_of else ("valid", "test")
    pseudonyms = pseudonyms or Pseudonyms()
    patients, notes = _patients(columns, rows, path_of, pseudonyms)
    if localizers:
        notes.append(f"left out: {counted(len(localizers), 'localizer')} without a row ('{localizers[0]}' first)")
    if others:
        notes.append(f"skipped: {counted(len(others), 'other file')} ('{others[0]}' first)")
    return Dataset(
        root=root,
        classes=classes,
        folder_classes=names,
        splits={split: tuple(sorted(samples)) for split, samples in splits.items()},
        to_make=tuple(split for split in wanted if not splits[split]),
        passed_over=len(others) + len(localizers),
        synthetic=is_phantom_set(root) or is_phantom_set(file.parent),
        notes=tuple(notes),
        labels_file=file,
        labelled_patients=patients,
        pseudonyms=pseudonyms,
    )


def labels_in(file: Path) -> set[str]:
    """Returns the labels in a labels file; raises DataError as `labelled_files`."""
    return set(labelled_files(file).values()) - {""}


def labelled_files(file: Path) -> dict[str, str]:
    """Returns the labels in a labels file, by absolute path; raises DataError if it cannot be read or lacks columns."""
    return {row.file: row.fields["label"] for row in _read(file)[1]}


def _read(file: Path) -> tuple[list[str], list[_Row]]:
    """Returns the names of the columns, and the rows."""
    text = io.StringIO(_text(file), newline="")
    header = text.readline()
    if not header.strip():
        raise DataError(f"expected a header with the columns 'path' and 'label' in line 1 of '{file}', found none")
    text.seek(0)
    reader = csv.reader(text, delimiter=max(_SEPARATORS, key=header.count), strict=True)
    columns: list[str] = []
    rows: list[_Row] = []
    faults = _Faults(file)
    base = str(file.parent.resolve())
    last = 0
    try:
        for fields in reader:
            line, last = last + 1, reader.line_num
            if not columns:
                columns = _columns(file, fields)
            elif len(fields) != len(columns) and any(fields):
                faults.add(
                    f"row with another number of fields than the header's {len(columns)}",
                    f"rows with another number of fields than the header's {len(columns)}",
                    f"line {line}: {len(fields)}",
                )
            elif any(fields):
                values = {column: field.strip() for column, field in zip(columns, fields, strict=True)}
                rows.append(_Row(line=line, fields=values, file=_file_of(base, values["path"])))
    except csv.Error as error:
        raise DataError(
            f"expected a CSV file in '{file}', found a fault in line {reader.line_num} ({error}); save it again as CSV "
            "in UTF-8"
        ) from None
    faults.check()
    if not rows:
        raise DataError(f"expected a row for each image in '{file}', found only the header")
    return columns, rows


def _file_of(base: str, path: str) -> str:
    """Returns the path of a row's image; backslashes of Windows separate folders unless such a file exists."""
    file = os.path.normpath(os.path.join(base, path))
    if "\\" in path and not Path(file).exists():
        return os.path.normpath(os.path.join(base, path.replace("\\", "/")))
    return file


def _text(file: Path) -> str:
    try:
        content = read_bytes(file, most=_MOST_BYTES)
    except OSError as error:
        raise DataError(
            f"expected a labels file at '{file}', found none ({reason_of(error)}); check --labels"
        ) from error
    try:
        if content.startswith(_UTF_16):
            raise DataError(f"expected UTF-8 in '{file}', found UTF-16; save it as 'CSV UTF-8'")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"expected UTF-8 in '{file}', found another encoding in line {line}; save it as 'CSV UTF-8'"
        ) from None


def _columns(file: Path, fields: Sequence[str]) -> list[str]:
    """Returns the names of the columns in lower case."""
    columns = [field.strip().lower() for field in fields]
    letters = [re.sub(r"[\W_]+", "", column) for column in columns]
    columns = [_SYNONYMS.get(name, column) for column, name in zip(columns, letters, strict=True)]
    if missing := [name for name in _NEEDED if name not in columns]:
        raise DataError(
            f"expected the columns 'path' and 'label' in line 1 of '{file}', found {counted(len(columns), 'column')} "
            f"without {quoted(missing)}; name the columns in the first line"
        )
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise DataError(f"expected each column once in line 1 of '{file}', found '{twice[0]}' twice")
    return columns


def _match_images(file: Path, root: Path, rows: Sequence[_Row], faults: _Faults) -> tuple[list[str], list[str]]:
    """Finds rows without an image, images without a row and double rows.

    Returns:
        The files that are not images, and the localizers of DICOM studies that have no row: nobody labels them.
    """
    top = os.path.join(root.resolve(), "")
    listed = set(map(os.path.normpath, list_files(top).files))
    first: dict[str, int] = {}
    is_elsewhere = not any(row.file in listed or Path(row.file).is_file() for row in rows)
    where = f" (paths are relative to '{file.parent}')" if is_elsewhere else ""
    for row in rows:
        if not row.fields["path"]:
            faults.add("row without a path", "rows without a path", f"line {row.line}")
        elif row.file in first:
            faults.add(
                "second row for a file",
                "second rows for a file",
                f"lines {first[row.file]} and {row.line}: '{row.fields['path']}'",
            )
        elif row.file not in listed and not Path(row.file).is_file():
            faults.add(f"row without a file{where}", f"rows without a file{where}", row.shown("path"))
        elif not row.file.startswith(top):
            faults.add(f"row outside of '{root}'", f"rows outside of '{root}'", row.shown("path"))
        first.setdefault(row.file, row.line)
    own = {os.path.join(file.parent.resolve(), name) for name in (file.name, MARKER)}
    others, localizers = [], []
    for path in sorted(listed - first.keys() - own):
        if is_scan(path) and _is_localizer(Path(path)):
            localizers.append(path[len(top) :])
            continue
        if is_scan(path):
            faults.add("image without a row", "images without a row", f"'{path[len(top) :]}'")
        others.append(path[len(top) :])
    return others, localizers


def _is_localizer(file: Path) -> bool:
    if find_spec("pydicom") is None:
        return False
    from ctonnx.images.dicom.identity import read_identity

    identity = read_identity(file, lambda kind, identifier: "")
    return identity is not None and identity.is_localizer


def _splits_of(columns: Sequence[str], rows: Sequence[_Row], faults: _Faults) -> dict[str, Split]:
    """Returns the split that each value of the column `split` names; empty if no row has one."""
    values = {row.fields["split"] for row in rows} - {""} if "split" in columns else set()
    if not values:
        return {}
    parts = parts_of(values)
    found = {
        value: split
        for value in values
        for split in SPLITS
        if (part := parts.get(value)) and not part.rest and part.role == split
    }
    for row in rows:
        value = row.fields["split"]
        if not value:
            faults.add("row without a split", "rows without a split, which others have", f"line {row.line}")
        elif value not in found:
            faults.add(
                "unknown split, expected train, valid or test",
                "unknown splits, expected train, valid or test",
                row.shown("split"),
            )
    return found


def _find_incomplete(rows: Sequence[_Row], column: str, of: Sequence[str], faults: _Faults) -> None:
    """Finds rows without a study or series where other rows with the same fields `of` have one.

    They would be another study or series, which may be taken instead, and then the patient has their class.
    """
    keys = [tuple(row.fields.get(name, "") for name in of) for row in rows]
    known = {key for key, row in zip(keys, rows, strict=True) if row.fields.get(column)}
    others = f"a {column}, which other rows of {{}} {of[-1]} have"
    for key, row in zip(keys, rows, strict=True):
        if key in known and not row.fields[column]:
            one, several = (
                f"{name} without {others.format(whose)}" for name, whose in (("row", "its"), ("rows", "their"))
            )
            faults.add(one, several, f"line {row.line}")


def _names(file: Path, labels: Iterable[str], class_names: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """Returns the canonical class name for each label."""
    found = sorted(set(labels))
    check_class_names(class_names, found, file)
    reject_collisions(set(found) - {*class_names, *known}, file)
    return {label: class_names.get(label) or class_name(label) for label in found}


def _patients(
    columns: Sequence[str], rows: Sequence[_Row], path_of: Mapping[int, str], pseudonyms: Pseudonyms
) -> tuple[Patients, list[str]]:
    """Returns the pseudonyms and subgroups in a labels file, and notes on the other columns that are not used."""
    identifiers: dict[str, dict[str, str]] = {kind: {} for kind in _IDENTIFIERS}
    for kind in filter(columns.__contains__, _IDENTIFIERS):
        values = {row.fields[kind] for row in rows}
        named = {value: pseudonyms.of(kind, value) for value in values}
        identifiers[kind] = {path_of[row.line]: named[row.fields[kind]] for row in rows if named[row.fields[kind]]}
    subgroups: dict[str, dict[str, str]] = {}
    notes = []
    for column in (name for name in columns if name and name not in _COLUMNS):
        group = {path_of[row.line]: row.fields[column] for row in rows if row.fields[column]}
        if column == "age":
            group = {path: band for path, age in group.items() if (band := age_band(age))}
        distinct = set(group.values())
        if why := why_no_subgroup(column, distinct):
            notes.append(f"column '{column}' {why} and is not used as a subgroup")
        elif len(distinct) > 1:
            subgroups[column] = group
    return (
        Patients(
            origin="labels file",
            names=identifiers["patient"],
            studies=identifiers["study"],
            series=identifiers["series"],
            subgroups=subgroups,
        ),
        notes,
    )
