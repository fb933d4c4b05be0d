"""`ctonnx recalibrate` as it is typed: output, exit code and files."""

import json
import re
from pathlib import Path

import pytest
from tests.train.cli.conftest import ctonnx, failed, outcome
from tests.train.grey_models import write_model, write_scans

pytestmark = pytest.mark.usefixtures("folder")

QUICK = ("--replicates", "20")


@pytest.fixture
def model(folder: Path) -> str:
    write_model(folder / "export/model.fp32.onnx")
    write_scans(folder / "site", {"large cell": 15, "normal": 25, "tumor": 15}, dimmed=0.6)
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
