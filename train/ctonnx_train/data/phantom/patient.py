"""Patients of phantoms: each has its own anatomy, scanner, noise and shading, and a lesion in some of its slices."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from ctonnx_train.data.phantom.anatomy import CLASSES, PARTS, Chest, paint_chest, paint_scout, vary_chest
from ctonnx_train.data.phantom.drift import Draws, Drift
from ctonnx_train.data.phantom.scanner import SCANNERS, Hounsfield, Kernel, Scanner, blurred, stamp, textured

__all__ = ["SPAN", "Patient", "Sex", "draw_scout", "draw_slice", "invent_patient", "uid_of"]

SPAN = 120.0
"""Length of the body that the slices of a patient are spread over, in mm."""

Sex: TypeAlias = Literal["F", "M"]

_SHARE_WITH_LESION = (0.25, 0.6)  # minimum and maximum share of a patient's slices
_SCALE_AT_ITS_END = 0.6  # of a lesion in its first and last slice
_RATES = (0.15, 0.4, 0.5, 0.8, 0.5, 0.8, 0.3, 0.6, 0.5, 0.8)  # change of `PARTS` along the body, in radians
_LABEL = -450  # Hounsfield units of the letters in a corner
_STUDIES = date(2019, 1, 1), 2000  # first day, and number of days


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A patient of a phantom set. Slices are counted from 0, from the head to the feet.

    Attributes:
        number: Number of the patient, from 1.
        seed: Seed of the set.
        slices: Number of slices.
        size: Width and height of a slice in pixels.
        kind: Class of the slices with a lesion, or `normal`.
        with_lesion: Slices with the lesion.
        sex: Sex.
        age: Age in years.
        study_date: Day of the study.
        scanner: Scanner of the study.
        kvp: Tube voltage in kV.
        thickness: Slice thickness in mm.
        field_of_view: Width of a slice in mm.
        window: Centre and width of the lung window of an 8-bit image, in Hounsfield units.
        has_scout: Whether the study has a localizer.
        has_soft: Whether the study has a second series of the same slices, with the kernel for soft tissue.
    """

    number: int
    seed: int
    slices: int
    size: int
    kind: str
    with_lesion: range
    sex: Sex
    age: int
    study_date: date
    scanner: Scanner
    kvp: int
    thickness: float
    field_of_view: float
    window: tuple[float, float]
    has_scout: bool
    has_soft: bool

    @property
    def identifier(self) -> str:
        """Identifier of the patient in headers and labels, which does not contain the number."""
        return f"SYN{(self.number * 6_400_013 + self.seed * 7_919 + 1_234_567) % 10**7:07d}"

    @property
    def spacing(self) -> float:
        """Distance of neighbouring slices in mm."""
        return SPAN / self.slices

    def class_of(self, index: int) -> str:
        """Returns the class of a slice: that of the patient's lesion if the slice shows it, otherwise `normal`."""
        return self.kind if index in self.with_lesion else "normal"

    def uid(self, *names: str | int) -> str:
        """Returns a UID of the patient's study, series or image."""
        return uid_of(self.seed, self.slices, self.size, self.number, *names)

    def rng(self, *key: int) -> np.random.Generator:
        """Returns a generator of the patient's own for one purpose."""
        return np.random.default_rng(self.seeds(*key))

    def seeds(self, *key: int) -> np.random.SeedSequence:
        """Returns seeds of the patient's own for one purpose."""
        return np.random.SeedSequence(self.seed, spawn_key=(_PATIENTS, self.number, *key))


_BLOCKS, _PATIENTS = range(2)
_FACTS, _CHEST, _ANATOMY, _SHADING, _NOISE, _TEXTURE = range(6)  # purposes of a patient's seeds


def uid_of(*names: str | int) -> str:
    """Returns a DICOM UID, the same for the same names, derived from a UUID (PS3.5, B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, ('ctonnx phantom', *names)))).int}"


def invent_patient(number: int, *, seed: int, slices: int, size: int) -> Patient:
    """Returns a patient of a set, the same for any number of patients.

    Of each four patients, one is of each class, two have a localizer, and two have a second series.
    """
    block, place = divmod(number - 1, len(CLASSES))
    shuffled = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_BLOCKS, block)))
    kind, scout, soft = (shuffled.permutation(4)[place] for _ in range(3))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PATIENTS, number, _FACTS)))
    scanner = SCANNERS[rng.integers(len(SCANNERS))]
    centre, width = scanner.lung.window
    count = int(np.clip(round(slices * rng.uniform(*_SHARE_WITH_LESION)), 1, slices - 1)) if kind else 0
    first = int(rng.integers(slices - count + 1))
    return Patient(
        number=number,
        seed=seed,
        slices=slices,
        size=size,
        kind=CLASSES[kind],
        with_lesion=range(first, first + count),
        sex="F" if rng.random() < 0.5 else "M",
        age=int(rng.integers(35, 86)),
        study_date=_STUDIES[0] + timedelta(days=int(rng.integers(_STUDIES[1]))),
        scanner=scanner,
        kvp=int(rng.choice(scanner.kvp)),
        thickness=float(rng.choice(scanner.thicknesses)),
        field_of_view=round(float(rng.uniform(380, 450)), 1),
        window=(centre + float(rng.uniform(-25, 25)), width + float(rng.uniform(-60, 60))),
        has_scout=bool(scout % 2),
        has_soft=bool(soft % 2),
    )


def draw_slice(patient: Patient, index: int, kernels: Sequence[Kernel]) -> list[Hounsfield]:
    """Draws a slice, once with each kernel: Hounsfield units, [size, size], below -1024 outside the field of view."""
    size, place = patient.size, index / (patient.slices - 1)
    rng = patient.rng(_TEXTURE)
    softness, sigma, shade = rng.uniform(0.9, 1.15), rng.uniform(*patient.scanner.noise), rng.uniform(8, 22)
    white = patient.rng(_NOISE, index).standard_normal((size + 1, size + 1), dtype=np.float32)
    patches = np.asarray(Drift(patient.seeds(_SHADING), place, 0.5).normal(0, shade, (14, 14)), np.float32)
    shading = np.asarray(Image.fromarray(patches).resize((size, size)))
    ct = paint_chest(
        _chest(patient, place),
        max(1024, 2 * size),
        _draws(patient, place),
        lesion=patient.class_of(index),
        lesion_scale=_lesion_scale(patient, index),
        table=patient.scanner.table,
    )
    slices = []
    for kernel in kernels:
        hu = blurred(ct, size, kernel.blur * softness)
        outside = hu < -1200
        hu += textured(white, kernel.grain) * (sigma * kernel.noise / np.sqrt(1 + 2 * kernel.grain**2)) + shading
        hu[outside] = -1400
        slices.append(_labelled(hu))
    return slices


def draw_scout(patient: Patient) -> Hounsfield:
    """Draws the localizer of a patient from the front, [size, size]; its values are not in Hounsfield units."""
    size = patient.size
    hu = blurred(paint_scout(_chest(patient, 0.5), max(1024, 2 * size)), size, 2)
    hu += patient.rng(_NOISE).standard_normal((size, size), dtype=np.float32) * 12
    return _labelled(hu)


def _chest(patient: Patient, place: float) -> Chest:
    """Returns the measures of the patient's chest at a place, 0 at its first slice and 1 at its last."""
    rng = patient.rng(_CHEST)
    lung, top = rng.uniform(-895, -800), rng.uniform(-0.1, 0.1)
    chest = vary_chest(Drift(patient.seeds(_CHEST, 0), place, 0.3), 0.94 if patient.sex == "F" else 1.0)
    return replace(chest, lung=lung, level=float(np.clip(top + place, 0, 1)))


def _draws(patient: Patient, place: float) -> Callable[[str], Draws]:
    def of_part(part: str) -> Draws:
        number = PARTS.index(part)
        return Drift(patient.seeds(_ANATOMY, number), place, _RATES[number])

    return of_part


def _lesion_scale(patient: Patient, index: int) -> float:
    """Returns the width of an ellipsoidal lesion in a slice, as a share of its largest."""
    middle = (patient.with_lesion.start + patient.with_lesion.stop - 1) / 2
    away = abs(index - middle) / (len(patient.with_lesion) / 2 or 1)
    return float(np.sqrt(max(0.0, 1 - away**2 * (1 - _SCALE_AT_ITS_END**2))))


def _labelled(hu: Hounsfield) -> Hounsfield:
    letters = Image.new("L", (hu.shape[1], hu.shape[0]))
    stamp(letters, 255)
    share = np.asarray(letters, np.float32) / 255
    labelled: Hounsfield = (hu + share * (_LABEL - hu)).astype(np.float32)
    return labelled
