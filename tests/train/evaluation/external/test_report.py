"""The report of an external evaluation as text and files."""

import json
import re
from pathlib import Path

from tests.train.evaluation.external.test_external import SETS, scans
from tests.train.grey_models import write_model

from ctonnx_train.evaluation.external.external import evaluate_external
from ctonnx_train.evaluation.external.report import as_markdown, write_report

ACQUISITION = {"middle_90": {"mean": [60, 140]}, "by_class": {"normal": {"mean": 116.2}, "tumor": {"mean": 73.4}}}


def test_first_line_is_the_verdict_and_the_shift_is_described(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.fp32.onnx", prediction_sets=SETS, acquisition=ACQUISITION, synthetic=True)
    document = evaluate_external(model, scans(tmp_path, dimmed=0.5, malignant=30, bengin=20), replicates=20)
    lines = as_markdown(document).splitlines()
    assert lines[0].startswith("**The operating point does not hold here: sensitivity 0.")
    assert "**Trained on synthetic phantoms: these metrics have no clinical meaning.**" in lines
    assert "Positive: malignant (30). Negative: benign (20)." in lines
    (sensitivity,) = re.findall(r"^\| sensitivity at .* \| (.+) \| 30 \|$", "\n".join(lines), re.MULTILINE)
    assert f"sensitivity {sensitivity} on 30 positive scans" in lines[0]  # one share has one interval
    (mean,) = [line for line in lines if line.startswith("- Mean grey: ")]
    assert " here against 116 (normal), 73 (tumor) in training; 0." in mean
    assert "- Novelty: unknown, as the model has no such output." in lines
    assert any(line.startswith("| AUROC of the score | ") for line in lines)
    assert any(line.startswith("| positive scans | ") for line in lines)

    write_report(document, tmp_path / "report")
    assert json.loads((tmp_path / "report/evaluation.json").read_text(encoding="utf-8")) == document
    assert (tmp_path / "report/report.md").read_text(encoding="utf-8") == as_markdown(document)


def test_model_without_training_facts_is_reported(tmp_path: Path) -> None:
    document = evaluate_external(write_model(tmp_path / "model.onnx"), scans(tmp_path, malignant=3), replicates=0)
    text = as_markdown(document)
    assert "- The model file has no facts of its training images to compare with" in text
    assert "Negative: none." in text
    shift = document["shift"]
    shift["novelty"] = {"flagged": {"value": 1.0, "interval": [0.5, 1.0]}, "expected": 0.05, "median_percentile": 100.0}
    assert (
        "- Novelty: 1.000 [0.500, 1.000] of the scans are above the threshold, where 0.05 are expected; the median "
        "scan is at percentile 100 of the validation images."
    ) in as_markdown(document)
