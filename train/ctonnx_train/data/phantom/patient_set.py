"""Generated datasets of phantoms with patients, as PNG files in class folders or as a hospital's DICOM export."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from PIL import PngImagePlugin

from ctonnx.errors import DataError
from ctonnx.system.files import atomic_folder, write_text
from ctonnx_train.data.phantom.anatomy import CLASSES
from ctonnx_train.data.phantom.patient import Patient, draw_slice, invent_patient
from ctonnx_train.data.phantom.phantom_set import DESCRIPTION, MARKER, check_is_free
from ctonnx_train.data.phantom.scanner import windowed

__all__ = ["LABELS", "PatientSet", "PhantomFormat", "generate_patients"]

LABELS = "labels.csv"

PhantomFormat: TypeAlias = Literal["png", "dicom"]

_COLUMNS = ("path", "label", "patient", "study", "series", "sex", "age", "scanner")
_ABOUT = """\
Synthetic chest-CT phantoms with patients, made by `ctonnx data phantom --patients`. No image here shows a patient: each
is a drawing from a random number generator, with a label in its corner. Names, identifiers, dates, scanners and the
classes are made up and have no clinical meaning, nor do the metrics of a model on these images.

Each patient has an anatomy, a scanner and a noise of its own, and those that are not of the class normal have a lesion
in some of their slices. The class of a slice is what it shows: slices without the lesion are normal. As slices of a
patient look alike, metrics are inflated if training and test images are split by slices; split them by patients.

labels.csv has a row for each slice; its paths are relative to it. phantom.json contains the settings that generate the
same files again.
"""
_OF_FORMAT = {
    "png": """
The images are in a folder for each class, without splits. The file names contain the number of the patient and of the
slice, from the head to the feet.
""",
    "dicom": """
The images are in a folder for each patient, study and series (PA, ST, SE), whose numbers are unrelated to identifiers
in the headers; nor are the numbers of files related to the order of slices. Some studies have a localizer, which has no
row in labels.csv, and some a second series of the same slices with a kernel for soft tissue.
""",
}


@dataclass(frozen=True)
class PatientSet:
    """Result of `generate_patients`.

    Attributes:
        folder: Folder of the set.
        patients: Number of patients.
        images: Number of images, with localizers.
        per_class: Number of labelled images by class.
    """

    folder: Path
    patients: int
    images: int
    per_class: dict[str, int]


class _Image(NamedTuple):
    """A written image; it has no slice if it is a localizer."""

    path: Path
    series: str
    slice_index: int | None


def generate_patients(
    out: Path,
    *,
    patients: int,
    slices: int = 8,
    image_format: PhantomFormat = "png",
    seed: int = 0,
    size: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> PatientSet:
    """Writes a phantom set with patients atomically. The same arguments give the same bytes.

    A larger number of patients keeps those of a smaller one.

    Args:
        out: Folder to write; it must be new or empty.
        patients: Number of patients, 4 or more; of each four, one has no lesion and three one of each kind.
        slices: Number of slices of each patient, 2 or more; DICOM studies may contain them twice.
        image_format: `png`, or `dicom` with the extra `[dicom]`.
        seed: Random seed, 0 or more.
        size: Width and height of the images in pixels.
        progress: Called with (images written, total number of images) after each image.

    Raises:
        DataError: A number is out of range, `out` is a file or not empty, or pydicom is missing.
        OSError: The folder cannot be written.
    """
    limits = (("patients", patients, len(CLASSES)), ("slices", slices, 2), ("seed", seed, 0), ("size", size, 64))
    for name, value, least in limits:
        if value < least:
            raise DataError(f"expected {name} of {least} or more, found {value}; give a larger {name}")
    check_is_free(out)
    write = _writer(image_format, patients, slices)
    invented = [invent_patient(number, seed=seed, slices=slices, size=size) for number in range(1, patients + 1)]
    total = sum(_images_of(patient, image_format) for patient in invented)
    rows: list[tuple[str, ...]] = []
    done = 0
    with atomic_folder(out.resolve()) as root:
        for patient in invented:
            for image in write(root, patient):
                done += 1
                if image.slice_index is not None:
                    rows.append(_row(image, root, patient))
                if progress is not None:
                    progress(done, total)
        with (root / LABELS).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *sorted(rows)])
        settings = {"patients": patients, "slices": slices, "format": image_format, "seed": seed, "size": size}
        marker = {"generator": "ctonnx data phantom", "synthetic": True} | settings
        write_text(root / MARKER, json.dumps(marker, indent=2, sort_keys=True) + "\n")
        write_text(root / "README.txt", _ABOUT + _OF_FORMAT[image_format])
        check_is_free(out)  # again: files written there in the meantime would be replaced
    return PatientSet(out, patients, total, dict(Counter(row[1] for row in rows)))


def _writer(image_format: PhantomFormat, patients: int, slices: int) -> Callable[[Path, Patient], Iterator[_Image]]:
    """Returns the function that writes the images of a patient into the folder of the set."""
    if image_format == "png":
        digits, of_slice = max(3, len(str(patients))), max(2, len(str(slices)))
        text = PngImagePlugin.PngInfo()
        text.add_text("Description", DESCRIPTION)
        return lambda root, patient: _write_png(root, patient, digits, of_slice, text)
    try:
        from ctonnx_train.data.phantom.dicom_series import write_study
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        found = getattr(sys.modules.get("pydicom"), "__version__", "none")
        raise DataError(
            f'expected pydicom 3 or newer for DICOM phantoms, found {found}; pip install "ctonnx[dicom]"'
        ) from error

    def write(root: Path, patient: Patient) -> Iterator[_Image]:
        for file in write_study(root / f"PA{patient.number:06d}" / "ST000001", patient):
            yield _Image(*file)

    return write


def _write_png(
    root: Path, patient: Patient, digits: int, of_slice: int, text: PngImagePlugin.PngInfo
) -> Iterator[_Image]:
    for index in range(patient.slices):
        (hu,) = draw_slice(patient, index, [patient.scanner.lung])
        folder = root / patient.class_of(index)
        folder.mkdir(exist_ok=True)
        file = folder / f"patient_{patient.number:0{digits}d}_slice_{index + 1:0{of_slice}d}.png"
        windowed(hu, *patient.window).save(file, pnginfo=text, compress_level=4)
        yield _Image(file, patient.uid("series"), index)


def _images_of(patient: Patient, image_format: PhantomFormat) -> int:
    if image_format == "png":
        return patient.slices
    return patient.slices * (1 + patient.has_soft) + patient.has_scout


def _row(image: _Image, root: Path, patient: Patient) -> tuple[str, ...]:
    return (
        image.path.relative_to(root).as_posix(),
        patient.class_of(image.slice_index or 0),
        patient.identifier,
        patient.uid("study"),
        image.series,
        patient.sex,
        str(patient.age),
        patient.scanner.model,
    )
