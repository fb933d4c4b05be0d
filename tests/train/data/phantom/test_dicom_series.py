"""Studies of phantoms as DICOM files: valid, in Hounsfield units, and as awkward as a hospital's export."""

import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

from ctonnx.images.loading import load  # noqa: E402  # after the extra was looked for
from ctonnx_train.data.phantom.dicom_series import StudyFile, write_study  # noqa: E402
from ctonnx_train.data.phantom.patient import Patient, draw_slice, invent_patient  # noqa: E402

Files: TypeAlias = list[tuple[StudyFile, Any]]
"""Files of a study with their headers."""

Study: TypeAlias = tuple[Patient, Files]

_SLICES = 3
_ONLY_WARNING = "Warning - </RescaleType(0028,1054)[1]> - Unrecognized defined term = <US>"
"""The validator's list lacks the standard's term for an unspecified unit (PS3.3, C.11.1.1.2), as localizers have."""


def written(patient: Patient, folder: Path) -> Study:
    return patient, [(file, pydicom.dcmread(file.path)) for file in write_study(folder, patient)]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Study]:
    """Studies of eight patients, on every scanner."""
    folder = tmp_path_factory.mktemp("studies")
    patients = [invent_patient(number, seed=0, slices=_SLICES, size=64) for number in range(1, 9)]
    assert len({patient.scanner for patient in patients}) == 3
    return [written(patient, folder / str(patient.number)) for patient in patients]


def in_order(files: Files, key: Callable[[StudyFile, Any], Any]) -> list[int | None]:
    return [file.slice_index for file, _ in sorted(files, key=lambda one: key(*one))]


def series_of(files: Files) -> list[Files]:
    found = defaultdict(list)
    for file, header in files:
        found[header.SeriesInstanceUID].append((file, header))
    return list(found.values())


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
def test_dciodvfy_accepts_every_file(studies: list[Study]) -> None:
    for _, files in studies:
        for file, _ in files:
            done = subprocess.run(["dciodvfy", "-new", file.path], capture_output=True, text=True, check=False)  # noqa: S607
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
            expected = ["CTImage"] if file.slice_index is not None else [_ONLY_WARNING, "CTImage"]
            assert (done.returncode, sorted(lines)) == (0, sorted(expected)), file.path


@pytest.mark.skipif(shutil.which("dcentvfy") is None, reason="dcentvfy (Debian's dicom3tools) is not installed")
def test_dcentvfy_finds_patients_studies_and_series_consistent(
    studies: list[Study],
) -> None:
    paths = [file.path for _, files in studies for file, _ in files]
    done = subprocess.run(["dcentvfy", *paths], capture_output=True, text=True, check=False)  # noqa: S607
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_slices_are_along_z_and_neither_names_nor_instance_numbers_are_in_that_order_everywhere(
    studies: list[Study],
) -> None:
    downwards = list(range(_SLICES))
    by_number = []
    for patient, files in studies:
        for series in series_of(files):
            if series[0][0].slice_index is None:
                continue
            assert in_order(series, lambda _, header: -header.ImagePositionPatient[2]) == downwards
            numbered = in_order(series, lambda _, header: header.InstanceNumber)
            by_number.append(numbered == downwards)
            assert numbered in (downwards, downwards[::-1])
            assert in_order(series, lambda file, _: file.path.name) != numbered
            z = sorted(header.ImagePositionPatient[2] for _, header in series)
            assert np.diff(z) == pytest.approx(patient.spacing, abs=0.002)
            assert {tuple(header.ImageOrientationPatient) for _, header in series} == {(1, 0, 0, 0, 1, 0)}
    assert {True, False} == set(by_number)


def test_a_study_has_one_frame_of_reference_and_the_series_that_the_patient_states(
    studies: list[Study],
) -> None:
    uids = set()
    for patient, files in studies:
        assert len({(header.StudyInstanceUID, header.FrameOfReferenceUID) for _, header in files}) == 1
        uids |= {header.SOPInstanceUID for _, header in files}
        kernels, scouts = set(), 0
        for series in series_of(files):
            assert len({file.path.parent for file, _ in series}) == 1
            assert {file.series for file, _ in series} == {series[0][1].SeriesInstanceUID}
            if series[0][1].ImageType[2] == "LOCALIZER":
                scouts += 1
                assert len(series) == 1
            else:
                assert len(series) == _SLICES
                kernels.add(series[0][1].ConvolutionKernel)
        scanner = patient.scanner
        assert kernels == ({scanner.lung.name, scanner.soft.name} if patient.has_soft else {scanner.lung.name})
        assert scouts == patient.has_scout
    assert len(uids) == sum(len(files) for _, files in studies)


def test_header_is_synthetic_but_complete_and_its_identifiers_are_in_no_path(
    studies: list[Study],
) -> None:
    for patient, files in studies:
        for file, header in files:
            assert header.PatientName == f"PHANTOM^{patient.number:03d}"
            assert header.PatientID == patient.identifier
            born, day = header.PatientBirthDate, header.StudyDate
            assert (int(day) - int(born)) // 10_000 == patient.age == int(header.PatientAge[:3])
            assert header.PatientSex == patient.sex
            assert header.Manufacturer == patient.scanner.manufacturer
            assert "not a patient" in header.PatientComments
            secrets = (header.PatientID, header.AccessionNumber, born, day, header.StudyInstanceUID)
            assert not any(secret in str(file.path.relative_to(file.path.parents[2])) for secret in secrets)


def test_stored_values_are_hounsfield_units_after_the_rescale(
    studies: list[Study],
) -> None:
    for patient, files in studies:
        file, header = next((file, header) for file, header in files if file.slice_index == 1)
        kernels = {kernel.name: kernel for kernel in (patient.scanner.lung, patient.scanner.soft)}
        (drawn,) = draw_slice(patient, 1, [kernels[header.ConvolutionKernel]])
        stored = header.pixel_array.astype(float)
        padded = stored == header.get("PixelPaddingValue")
        assert padded.any() == patient.scanner.is_signed
        hu = stored * float(header.RescaleSlope) + float(header.RescaleIntercept)
        assert np.abs(hu - drawn.clip(-1024, 3071))[~padded].max() <= 0.5
        scan = load(file.path)
        assert (scan.image.size, scan.caution) == ((64, 64), None)


def test_localizer_is_rendered_with_its_warning(studies: list[Study]) -> None:
    scouts = [file for _, files in studies for file, _ in files if file.slice_index is None]
    assert len(scouts) == 4
    assert str(load(scouts[0].path).caution).startswith("a localizer (scout), not a slice")
