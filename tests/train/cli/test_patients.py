"""Patients from DICOM headers and labels files, as the commands are typed; nothing that identifies one is written."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from tests.train.cli.conftest import ctonnx, failed, outcome
from tests.train.grey_models import write_model

from ctonnx.artifacts.run import Run
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx_train.runs.splits_file import read_patients

pytest.importorskip("pydicom", reason="pydicom is not installed")
from tests.runtime.images.dicom.dicom_files import encoded, make

QUICK = ("--weights", "none", "--epochs", "1", "--batch-size", "4", "--image-size", "32", "--precision", "fp32")
SECRETS = ("Mustermann", "MRN-4711", "19511224", "20190203", "1951-12-24", "2019-02-03", "1.2.276.99")

pytestmark = pytest.mark.usefixtures("folder", "on_the_cpu", "small_backbone")


def write_series(root: str, patients: int = 4) -> None:
    """Writes DICOM slices of patients of two classes, three of each, with all that identifies a patient."""
    rng = np.random.default_rng(0)
    for number in range(2 * patients):
        folder = Path(root, "ab"[number % 2])
        folder.mkdir(parents=True, exist_ok=True)
        for place in range(3):
            slice_ = make(
                rng.integers(-1000, 400, (40, 40), dtype=np.int16),
                PatientName=f"Mustermann^Erika{number}",
                PatientID=f"MRN-4711-{number}",
                PatientBirthDate="19511224",
                PatientSex="FM"[number // 2 % 2],
                StudyDate="20190203",
                StudyInstanceUID=f"1.2.276.99.{number}",
                SeriesInstanceUID=f"1.2.276.99.{number}.1",
            )
            (folder / f"IM{number:02}{place}").write_bytes(encoded(slice_))


def secrets_in(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def files_with_secrets(folder: Path) -> list[str]:
    contents = {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return [name for name, content in contents.items() if any(secret.encode() in content for secret in SECRETS)]


def test_nothing_that_identifies_a_patient_is_written(folder: Path) -> None:
    write_series("scans")
    outputs = []
    result = ctonnx("train", "scans", *QUICK, "--name", "tiny")
    assert result.exit_code == 0, result.output
    outputs.append(result.output)
    assert "patients: 8 from DICOM headers (of 24 images); subgroups: sex\n" in result.stderr
    run = Run(folder / "runs/tiny")
    record = json.loads(run.record_file.read_text(encoding="utf-8"))["data"]
    assert record["patients"] == {
        "origin": "DICOM headers",
        "patients": {"train": 4, "valid": 2, "test": 2},
        "subgroups": ["sex"],
    }
    assert stat.S_IMODE(run.patients_key_file.stat().st_mode) == 0o600
    names = Pseudonyms.load(run.patients_key_file)
    every = {path: name for split in ("train", "valid", "test") for path, name in read_patients(run, split).items()}
    assert every["a/IM000"] == every["a/IM002"] == names.of("patient", "MRN-4711-0")

    for name, options in (("out0", []), ("out1", ["--split", "all", "--json"])):
        result = ctonnx("evaluate", "tiny", "scans", "--output", name, "--replicates", "50", *options)
        assert result.exit_code == 0, result.output
        outputs.append(result.output)
    assert "warning: 4 of the 8 patients are among those that 'runs/tiny' was trained on" in result.stderr
    found = json.loads(result.stdout)["data"]["patients"]
    assert found == {"origin": "DICOM headers", "patients": 8, "trained_on": 4, "chosen_by": 0}

    run.patients_key_file.rename("patients.key")  # new pseudonyms are those of nobody in the training
    result = ctonnx("evaluate", "tiny", "scans", "--split", "all", "--json", "--replicates", "0", "--drop-leaks")
    assert json.loads(result.stdout)["data"]["patients"]["trained_on"] is None
    assert "warning: the training patients of a model are unknown here: --drop-leaks compares its images only" in (
        result.stderr
    )
    Path("patients.key").rename(run.patients_key_file)

    for options in ([], ["--json"]):
        result = ctonnx("data", "audit", "scans", *options)
        outputs.append(result.output)
    assert json.loads(result.stdout)["patients_origin"] == "DICOM headers"
    assert secrets_in("".join(outputs)) == []
    assert files_with_secrets(folder / "runs") == []
    assert [files_with_secrets(folder / name) for name in ("out0", "out1")] == [[], []]
    assert len(files_with_secrets(folder / "scans")) == 24


def test_a_labels_file_trains_and_evaluates_without_its_identifiers(folder: Path) -> None:
    write_series("scans")
    classes = {"a": "tumour", "b": "normal"}
    rows = [
        f"{file.parent.name}/{file.name};{classes[file.parent.name]};MRN-4711-{file.name[2:4]}"
        for file in sorted(Path("scans").rglob("IM*"))
    ]
    Path("scans/labels.csv").write_text("\n".join(["path;label;patient", *rows]), encoding="utf-8")
    result = ctonnx("train", "--labels", "scans/labels.csv", *QUICK, "--name", "tiny")
    assert result.exit_code == 0, result.output
    assert "no split valid and test: taken from the training images" in result.stderr
    assert "patients: 8 from the labels file (of 24 images)" in result.stderr
    run = Run(folder / "runs/tiny")
    names = Pseudonyms.load(run.patients_key_file)
    assert names.of("patient", "MRN-4711-00") in set(read_patients(run, "train").values()) | set(
        read_patients(run, "valid").values()
    ) | set(read_patients(run, "test").values())
    # The headers name the same patients with other identifiers; the folders have other classes.
    result = ctonnx(
        *("evaluate", "tiny", "--labels", "scans/labels.csv", "--split", "all", "--drop-leaks"),
        *("--replicates", "50", "--json"),
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)["data"]
    assert (document["images"], document["patients"]["trained_on"]) == (12, 0)
    assert secrets_in(result.output) == []
    assert files_with_secrets(folder / "runs") == []


def test_a_patient_in_several_splits_is_exit_code_1_and_one_in_several_classes_is_not(folder: Path) -> None:
    write_series("scans", patients=2)
    files = sorted(Path("scans").rglob("IM*"))

    def audit(patients: list[str], splits: list[str]) -> tuple[int, str]:
        rows = [
            f"{file.relative_to('scans').as_posix()},{file.parent.name},{patient},{split}"
            for file, patient, split in zip(files, patients, splits, strict=True)
        ]
        Path("scans/labels.csv").write_text("\n".join(["path,label,patient,split", *rows]), encoding="utf-8")
        result = ctonnx("data", "audit", "--labels", "scans/labels.csv")
        assert secrets_in(result.output) == []
        return result.exit_code, result.stdout

    one_split = ["train"] * 12
    code, text = audit(["P1"] * 3 + ["P2"] * 6 + ["P3"] * 3, one_split)
    assert code == 0, text
    assert "\npatients: 3 from the labels file\n  in several splits: 0\n  in several classes: 1\n" in text
    assert "\n    a/IM020                      3       3\n" in text
    code, text = audit(["P1"] * 3 + ["P2"] * 3 + ["P3"] * 6, ["train", "valid", "test", *one_split[3:]])
    assert code == 1, text
    assert "\n    a/IM000                      1       1       1\n" in text
    assert "THE SPLITS LEAK" in text


@pytest.mark.parametrize("command", [("data", "audit"), ("evaluate", "tiny")])
def test_data_or_a_labels_file_is_needed(command: tuple[str, ...]) -> None:
    result = ctonnx(*command)
    assert result.exit_code == 2
    assert "expected DATA or --labels CSV, found neither" in result.stderr


def test_a_labels_file_in_place_of_a_folder_is_reported() -> None:
    Path("labels.csv").write_text("path,label\n", encoding="utf-8")
    result = ctonnx("train", "labels.csv")
    assert result.exit_code == 2
    assert "found another file; name a labels file with --labels" in result.stderr


@pytest.mark.parametrize("command", [("train",), ("data", "audit"), ("evaluate", "model.onnx")])
def test_an_export_whose_labels_file_is_not_named_is_an_error_that_names_it(command: tuple[str, ...]) -> None:
    write_series("scans")
    files = sorted(Path("scans").rglob("IM*"))
    for file in files:
        patient = Path("scans", f"PA{file.name[2:4]}")
        patient.mkdir(exist_ok=True)
        file.rename(patient / file.name)
    rows = [f"PA{file.name[2:4]}/{file.name},{('normal', 'tumor')[number % 2]}" for number, file in enumerate(files)]
    Path("scans/labels.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    write_model(Path("model.onnx"))
    result = ctonnx(*command, "scans")
    assert outcome(result) == failed(
        "expected folders of the classes ('normal', 'tumor') in 'scans', found 8 other folders; if they are the "
        "classes, name them with --class-name or move the labels file; 'scans/labels.csv' looks like a labels file: "
        "use it with --labels scans/labels.csv"
    )
