"""`ctonnx recalibrate` as it is typed: output, exit code and files."""

import json
import re
from pathlib import Path

import pytest
from tests.train.cli.conftest import ctonnx, failed, outcome
from tests.train.grey_models import write_model, write_scans

pytestmark = pytest.mark.usefixtures("folder")

COUNTS = {"large cell": 15, "normal": 25, "tumor": 15}
QUICK = ("--replicates", "20")


@pytest.fixture
def model(folder: Path) -> str:
    write_model(folder / "export/model.fp32.onnx")
    write_scans(folder / "site", COUNTS, dimmed=0.6)
    return "export/model.fp32.onnx"


def test_new_file_is_written_verified_and_inspected(model: str) -> None:
    result = ctonnx("recalibrate", model, "site", "-o", "new/model.fp32.onnx", *QUICK)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "export/model.fp32.onnx on 55 scans of site (large cell 15, normal 25, tumor 15)"
    assert lines[-2] == "wrote new/model.fp32.onnx, with its golden inputs in new/golden.npz"
    assert lines[-1] == (
        "the golden inputs are those of the export: pixels of the training site's images, and none of these scans"
    )
    assert result.stderr.splitlines() == [
        "ONNX fp32 'grey' on 55 scans of site",
        "golden.npz contains pixels of validation images: treat it like the images themselves",
    ]
    assert ctonnx("verify", "new/model.fp32.onnx").exit_code == 0
    shown = ctonnx("inspect", "new/model.fp32.onnx").stdout
    (history,) = [line for line in shown.splitlines() if line.startswith("history")]
    assert " recalibrated on 55 scans of 'site', 20" in history
    assert ": temperature from 1 to 0." in history
    assert ", operating point from 0.5 to 0." in history
    assert history.endswith(", other prediction sets")
    assert re.search(r"^fitted_on  +scans of 'site'$", shown, re.MULTILINE)
    summary = ctonnx("predict", "site", "--model", "new/model.fp32.onnx").stderr.splitlines()[-1]
    assert summary.endswith(" on the scans of 'site')")
    assert "validation images" not in summary


def test_labels_file_names_classes_and_patients(model: str, folder: Path) -> None:
    rows = [f"{name}/{n}.png,{name},P{name}{n // 2}" for name, count in COUNTS.items() for n in range(count)]
    (folder / "site/labels.csv").write_text("path,label,patient\n" + "\n".join(rows), encoding="utf-8")
    words = ("recalibrate", model, "--labels", "site/labels.csv", "-o", "new/model.fp32.onnx", *QUICK)
    result = ctonnx(*words)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == "patients: 29 from the labels file (of 55 images)"
    assert re.search(r"^sensitivity of patients +- +[01]\.\d.* 16$", result.stdout, re.MULTILINE)
    assert "(groups kept together)" in result.stdout
    shown = ctonnx("inspect", "new/model.fp32.onnx").stdout
    assert re.search(r"^patient_rule .* on the 29 patients of the scans of 'site', on which it", shown, re.MULTILINE)
    assert outcome(ctonnx(*words[:4], "-o", "other/model.fp32.onnx", "--group-regex", "P")) == failed(
        "expected patients from one source, found the column 'patient' in 'site/labels.csv' and --group-regex; leave "
        "out --group-regex, or remove the column"
    )
    assert "expected DATA or --labels CSV" in ctonnx("recalibrate", model, "-o", "x.onnx").stderr


def test_json_has_both_columns(model: str) -> None:
    result = ctonnx("recalibrate", model, "site", "-o", "new/model.fp32.onnx", "--json", *QUICK)
    found = json.loads(result.stdout)
    assert found["before"]["sensitivity"]["value"] < found["after"]["sensitivity"]["value"]
    assert found["output"] == "new/model.fp32.onnx"


def test_model_is_not_overwritten(model: str) -> None:
    assert outcome(ctonnx("recalibrate", model, "site", "-o", model)) == failed(
        f"expected a new file for --output, found the model itself at '{model}'; choose another name: the earlier "
        "model stays as it is"
    )


def test_missing_model_is_reported_first(model: str) -> None:
    result = ctonnx("recalibrate", "none.onnx", "site", "-o", model)
    assert result.exit_code == 2
    assert "'none.onnx'" in result.stderr
