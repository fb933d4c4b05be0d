"""Nothing that a run, an export, an evaluation or a prediction writes or prints identifies a patient."""

import csv
import gzip
import hashlib
import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, PngImagePlugin
from tests.conftest import empty_plots
from tests.export.conftest import LOOSE, short_search
from tests.thin.sitecustomize import thin_resnet50

from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx.parity.acceptance_gates import GATES
from ctonnx_export.graph.simplification import Simplified
from ctonnx_train.data.phantom.patient_set import LABELS, generate_patients

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

PATIENTS, SLICES = 24, 2
QUICK = ("--weights", "none", "--epochs", "1", "--batch-size", "8", "--image-size", "64", "--precision", "fp32")
MARK, UID_ROOT = "QZXMARK", "1.2.826.0.1.3680043.10.777123"
DATES = ("19510417", "20170823", "1951-04-17", "2017-08-23", "17.04.1951", "23.08.2017")
TEXTS = (
    *("AccessionNumber", "InstitutionName", "InstitutionAddress", "ReferringPhysicianName", "OperatorsName"),
    *("PatientComments", "StudyDescription", "SeriesDescription", "ProtocolName", "StationName", "DeviceSerialNumber"),
    *("OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "ImageComments", "StudyID"),
)
OWN_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


def mark(root: Path, *, in_file: bool) -> None:
    """Puts marked names, numbers, dates and UIDs into the headers, and into the labels file if `in_file`."""
    numbers: dict[str, int] = {}
    uids: dict[str, str] = {}
    identifiers: dict[str, tuple[str, str, str]] = {}
    for file in sorted(root.rglob("IM*")):
        data = pydicom.dcmread(file)
        number = numbers.setdefault(data.PatientID, len(numbers))
        data.PatientName, data.PatientID = f"{MARK}{number}^Erika", identifier_of(number)
        data.PatientBirthDate, data.StudyDate = DATES[:2]
        data.SeriesDate = data.AcquisitionDate = data.ContentDate = DATES[1]
        for name in TEXTS:
            setattr(data, name, f"{MARK}{number}")
        for name in OWN_UIDS:
            if value := data.get(name):
                setattr(data, name, uids.setdefault(value, f"{UID_ROOT}.{len(uids)}"))
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.private_block(0x0099, MARK, create=True).add_new(1, "LO", f"{MARK}{number}")
        data.save_as(file, enforce_file_format=True)
        path = file.relative_to(root).as_posix()
        identifiers[path] = (data.PatientID, data.StudyInstanceUID, data.SeriesInstanceUID)
    with (root / LABELS).open(encoding="utf-8", newline="") as opened:
        rows = [(row["path"], row["label"]) for row in csv.DictReader(opened)]
    with (root / LABELS).open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        columns = ("patient", "study", "series", "patient name", "accession", "born", "ward")
        writer.writerow(("path", "label", *(columns if in_file else ())))
        for path, label in rows:
            patient = identifiers[path][0]
            more = (*identifiers[path], f"{MARK}^Erika", patient, DATES[2], f"{MARK} ward of {patient}")
            writer.writerow((path, label, *(more if in_file else ())))


def identifier_of(number: int) -> str:
    return f"{MARK}{number:03}"


def contents(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields a file's bytes, and those of what is compressed in it: archives, and texts in pictures."""
    yield name, content
    if content.startswith(b"PK") and zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from contents(f"{name}/{member}", archive.read(member))
    elif content.startswith(b"\x1f\x8b"):
        yield from contents(f"{name}/", gzip.decompress(content))
    elif content.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            yield f"{name}/texts", repr({**picture.info, **getattr(picture, "text", {})}).encode()


def forbidden(key: bytes = b"") -> list[bytes]:
    """Returns everything that identifies a patient, plain hashes of the numbers, and the key."""
    words = [word.encode(encoding) for word in (MARK, MARK.lower(), UID_ROOT) for encoding in ("utf-8", "utf-16-le")]
    words += [date.encode() for date in DATES]
    for number in range(PATIENTS):
        plain = identifier_of(number).encode()
        for kind in ("md5", "sha1", "sha256"):
            words.append(hashlib.new(kind, plain, usedforsecurity=False).hexdigest()[:16].encode())
    return [*words, *filter(None, (key, key.hex().encode()))]


def findings(folder: Path, words: list[bytes]) -> list[str]:
    """Returns the files whose content or path has one of the words; those of digits alone not in a decimal number."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        for name, content in contents(file.relative_to(folder).as_posix(), file.read_bytes()):
            # A decimal number may have the digits of a date. UIDs and dates such as 17.04.1951 have several points.
            without_decimals = re.sub(rb"(?<![\d.])\d+\.\d+(?!\d|\.\d)", b" ", content)
            if any(word in (without_decimals if word.isdigit() else content) for word in words) or any(
                word in name.encode() for word in words
            ):
                found.append(name)
    return found


@pytest.mark.parametrize(
    "text", [f"{UID_ROOT}.17", f"study='{UID_ROOT}.4',0.25", f"0.5,{DATES[0]},0.125", f"[1.5 {DATES[2]}]", DATES[5]]
)
def test_uids_and_dates_are_found_next_to_decimal_numbers(text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text, encoding="utf-8")
    assert findings(tmp_path, forbidden()) == ["file"]


@pytest.mark.parametrize("number", ["0.19510417", "12.201708231", "5.20170823e-05", "-0.0119510417"])
def test_digits_of_a_decimal_number_are_no_date(number: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(f'{{"value": {number}, "next": 1}}', encoding="utf-8")
    assert findings(tmp_path, forbidden()) == []


@pytest.mark.parametrize("make", ["text", "npz", "png", "png info", "checkpoint", "utf-16"])
def test_marks_are_found_in_every_kind_of_file(make: str, tmp_path: Path) -> None:
    file, secret = tmp_path / "file", identifier_of(3)
    if make == "npz":
        np.savez_compressed(tmp_path / "file.npz", names=np.array([secret.encode()]))
    elif make.startswith("png"):
        texts = PngImagePlugin.PngInfo()
        texts.add_text("about", f"{secret}" * 20, zip=make == "png info")
        Image.new("L", (8, 8)).save(file, "png", pnginfo=texts)
    elif make == "checkpoint":
        import torch

        torch.save({"of": secret}, file)
    else:
        file.write_bytes(secret.encode("utf-16-le" if make == "utf-16" else "utf-8"))
    assert findings(tmp_path, forbidden()) != []


def ctonnx(*words: str, exit_codes: tuple[int, ...] = (0,)) -> str:
    """Runs a command and returns all that it printed."""
    result: Any = CliRunner().invoke(main, words, prog_name="ctonnx")
    assert result.exit_code in exit_codes, result.output
    return f"{result.stdout}{result.stderr}"


@pytest.fixture(scope="module")
def unmarked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scans of all patients, without marks."""
    folder = tmp_path_factory.mktemp("unmarked") / "hospital"
    generate_patients(folder, patients=PATIENTS, slices=SLICES, image_format="dicom", size=64)
    return folder


@pytest.fixture
def plots(in_file: bool) -> Iterator[None]:
    """Draws the plots only in one case: the other has four networks, whose plots are drawn as those of one."""
    with nullcontext() if in_file else empty_plots():
        yield


@pytest.mark.parametrize("in_file", [True, False], ids=["labels file", "DICOM headers"])
@pytest.mark.usefixtures("plots")
def test_nothing_that_is_written_identifies_a_patient(
    in_file: bool, unmarked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ctonnx_train.network.classifier.resnet50", thin_resnet50)
    monkeypatch.setattr("ctonnx_export.models.simplify", lambda model, pixels: Simplified(model, "left out"))
    hospital = tmp_path / "hospital"
    shutil.copytree(unmarked, hospital)
    mark(hospital, in_file=in_file)
    labels = ("--labels", f"hospital/{LABELS}")
    # Each of the slow options once.
    folds, stress = ((), ()) if in_file else (("--folds", "3"), ("--stress",))
    int8 = ("--precision", "int8", "--calibrate", "hospital", *labels, "--samples", "8") if in_file else ()
    printed = [ctonnx("data", "audit", *labels, *more, exit_codes=(0, 1)) for more in ((), ("--json", "--all"))]
    printed += [ctonnx("train", *labels, *QUICK, *folds, "--name", "tiny")]
    origin = "the labels file" if in_file else "DICOM headers"
    assert f"patients: {PATIENTS} from {origin}" in printed[-1]
    run = Run(tmp_path / "runs/tiny")
    short_search(monkeypatch)
    monkeypatch.setitem(GATES, "int8", LOOSE)
    printed += [
        ctonnx("evaluate", "tiny", *labels, "--split", "all", "--replicates", "20", "--output", "out/all"),
        ctonnx("evaluate", "tiny", *labels, *stress, "--replicates", "20", "--output", "out/test"),
        ctonnx("export", "runs/tiny", *int8),
    ]
    model = str(run.model_file("fp32"))
    external = ("evaluate", model, *labels, "--external", "--replicates", "20", "--drop-leaks")
    printed += [
        ctonnx(*external, "--output", "out/external", exit_codes=(0, 1)),
        ctonnx("inspect", model, "--json"),
        ctonnx("predict", "-m", model, "--by", "patient", "-o", "out/rows.csv", "--heatmaps", "out/maps", "hospital"),
        ctonnx("predict", "-m", model, "--by", "series", "-o", "out/rows.jsonl", "hospital"),
        ctonnx("predict", "-m", model, "-o", "out/slices.csv", "--heatmaps", "out/slices", "hospital/PA000001"),
        ctonnx("verify", model),
    ]
    (tmp_path / "printed.txt").write_text("\n".join(printed), encoding="utf-8")
    shutil.move(hospital, tmp_path.with_name(f"{tmp_path.name} hospital"))
    assert findings(tmp_path, forbidden()) == []

    key = run.patients_key_file.read_bytes()
    assert findings(tmp_path, forbidden(key)) == ["runs/tiny/patients.key"]
    assert sorted(tmp_path.rglob("patients.key")) == [run.patients_key_file]
    # What was searched is not empty, and was not written without the patients.
    assert len(findings(tmp_path.with_name(f"{tmp_path.name} hospital"), forbidden())) >= PATIENTS * SLICES
    assert any("/" in name for name, _ in contents("golden", (run.export_folder / "golden.npz").read_bytes()))
    assert len(list((tmp_path / "out/maps").iterdir())) == PATIENTS
