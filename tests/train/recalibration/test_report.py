"""The report of a recalibration."""

from dataclasses import asdict
from typing import Any

from tests.train.grey_models import POINT

from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx_train.recalibration.comparison import MEASURES, PATIENT_MEASURES
from ctonnx_train.recalibration.report import as_text

SHARE = {"value": 0.5, "interval": [0.25, 0.75], "images": 40}
NOTHING = {"value": None, "interval": None, "images": 0}
SETS = PredictionSets(coverage=0.95, lowest={"normal": 0.25, "tumor": 0.5}, images={"normal": 20, "tumor": 20})


def test_values_and_measures_are_side_by_side() -> None:
    document: dict[str, Any] = {
        "model": "model.onnx",
        "output": "new/model.onnx",
        "golden": "new/golden.npz",
        "network_sha256": "ab",
        "data": {"name": "site", "images": {"normal": 20, "tumor": 20}},
        "groups": None,
        "folds": 5,
        "earlier": {
            "temperature": 1.0,
            "operating_point": asdict(POINT),
            "prediction_sets": None,
            "novelty": None,
            "brightness": None,
        },
        "values": {
            "temperature": 1.37,
            "operating_point": asdict(POINT) | {"threshold": 0.25},
            "prediction_sets": asdict(SETS),
            "novelty": None,
            "brightness": {"low": 33.0, "high": 186.0, "images": 40},
        },
        "before": dict.fromkeys(MEASURES, SHARE) | {"coverage": NOTHING},
        "after": dict.fromkeys(MEASURES, SHARE) | {"sensitivity": {**SHARE, "value": 0.75}, "novel": NOTHING},
        "caveats": ["few scans"],
    }
    lines = as_text(document).splitlines()
    assert lines[0] == "model.onnx on 40 scans of site (normal 20, tumor 20)"
    shown = [" ".join(line.split()) for line in lines]
    assert "sensitivity 0.500 [0.250, 0.750] 0.750 [0.250, 0.750] 40" in shown
    assert "coverage of the sets - 0.500 [0.250, 0.750] 40" in shown
    assert "temperature 1 1.37" in shown
    assert "operating point 0.5 0.25" in shown
    assert "lowest conformity of tumor - 0.5" in shown
    assert "novelty threshold - -" in shown
    assert "mean grey, low end - 33" in shown
    assert "Conformity: the class's probability; a class is in an image's set from its lowest conformity on." in lines
    assert lines[1] == "warning: few scans"
    assert lines[-3:] == [
        "network unchanged: SHA-256 ab before and after",
        "wrote new/model.onnx, with its golden inputs in new/golden.npz",
        "the golden inputs are those of the export: pixels of the training site's images, and none of these scans",
    ]
    with_sides = {**document["values"], "prediction_sets": asdict(SETS) | {"positive": ["tumor"]}}
    assert "probability times that of its side, suspicious or not; a" in as_text({**document, "values": with_sides})
    patients = dict.fromkeys(PATIENT_MEASURES, SHARE | {"images": 12})
    of_patients = {name: {**document[name], **patients} for name in ("before", "after")}
    grouped = as_text({**document, **of_patients, "groups": 12, "golden": None})
    assert "sensitivity of patients" not in as_text(document)
    assert "sensitivity of patients 0.500 [0.250, 0.750] 0.500 [0.250, 0.750] 12" in " ".join(grouped.split())
    assert "cross-validated in 5 folds (groups kept together)" in grouped
    assert grouped.endswith("wrote new/model.onnx; without golden inputs, as the model has none")
