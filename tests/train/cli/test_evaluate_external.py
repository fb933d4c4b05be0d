"""`ctonnx evaluate --external` as it is typed."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.train.cli.conftest import failed, misused, outcome
from tests.train.cli.test_evaluate import QUICK, ctonnx, document
from tests.train.grey_models import POINT, write_model, write_scans

pytestmark = pytest.mark.usefixtures("folder", "no_cuda")

KINDS = {"benign": "normal", "malignant": "tumor"}


@pytest.fixture
def hospital(folder: Path) -> str:
    """A model of three classes, and scans of two others that another window darkened."""
    point = replace(POINT, specificity=0.8)
    write_model(folder / "model.fp32.onnx", operating_point=point)
    write_scans(folder / "hospital", {"benign": 20, "malignant": 20}, kinds=KINDS, dimmed=0.5)
    write_scans(folder / "alike", {"benign": 60, "malignant": 100}, kinds=KINDS)
    return "hospital"


def test_external_data_begins_with_the_verdict_and_fails_where_the_point_does_not_hold(hospital: str) -> None:
    result = ctonnx("model.fp32.onnx", hospital, "--external", *QUICK, "--output", "report")
    assert result.exit_code == 1
    assert result.stdout.startswith("**The operating point does not hold here: sensitivity 0.")
    assert result.stderr == (
        "positive: malignant; negative: benign\nONNX fp32 'grey' on 40 images (all) of hospital\n"
        "report: wrote evaluation.json and report.md\n"
    )
    assert sorted(path.name for path in Path("report").iterdir()) == ["evaluation.json", "report.md"]
    chosen = ctonnx("model.fp32.onnx", "alike", "--external", "--positive", "malignant", "--negative", "normal,benign")
    assert chosen.exit_code == 0
    assert chosen.stdout.startswith("**The operating point holds here: sensitivity ")


def test_external_data_as_json(hospital: str) -> None:
    found = document(ctonnx("model.fp32.onnx", "alike", "--external", "--json", *QUICK))
    assert found["verdict"]["name"] == "holds"
    assert set(found) >= {"auroc", "sensitivity", "specificity", "referred", "missed", "decisions", "shift", "caveats"}


def test_other_classes_without_external_name_the_option(hospital: str) -> None:
    assert outcome(ctonnx("model.fp32.onnx", hospital)) == failed(
        "expected only the model's classes ('large cell', 'normal', 'tumor') in every split of 'hospital', found "
        "'benign', 'malignant' too; rename the folder or use --class-name OLD=NEW; for other classes: ctonnx evaluate "
        "--external"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--external", "--compare", "model.fp32.onnx"), "expected --external or --compare, found both"),
        (
            ("--positive", "malignant"),
            "expected --positive and --negative with --external, found them without it",
        ),
    ],
)
def test_options_that_do_not_go_together(words: tuple[str, ...], message: str, hospital: str) -> None:
    assert misused(
        "ctonnx evaluate [OPTIONS] MODEL_OR_RUN [DATA]", message, ctonnx("model.fp32.onnx", hospital, *words)
    )
