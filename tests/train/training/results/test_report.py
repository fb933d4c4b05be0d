"""Reports of a training: an evaluation of each split, with the images seen in training, and the curves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.run import Run
from ctonnx.images import Preprocessing
from ctonnx_train.data.splits import Sample, Split
from ctonnx_train.evaluation.drawing.plots import plot_curves
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.threshold import suspicious_metrics
from ctonnx_train.evaluation.statistics.metrics import evaluate
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.training.results.report import write_reports

CLASSES = ("malignant", "normal")
LEAKS = {
    "groups": 2,
    "files": 4,
    "groups_across_splits": 2,
    "files_across_splits": 4,
    "groups_with_several_labels": 0,
    "files_with_several_labels": 0,
    "leaked": {"valid": 1, "test": 1},
    "dropped": {},
}
SPLITS: dict[Split, tuple[Sample, ...]] = {
    "train": (Sample("t0", 0), Sample("t1", 1)),
    "valid": (Sample("v0", 0), Sample("v1", 1), Sample("v2", 1)),
    "test": (Sample("e0", 1), Sample("e1", 0), Sample("e2", 0), Sample("e3", 1)),
}
DIGESTS = {"t0": "A", "t1": "B", "v0": "A", "v1": "C", "v2": "D", "e0": "B", "e1": "C", "e2": "D", "e3": "E"}
PREDICTIONS = {
    "valid": np.array([[0.75, 0.25], [0.25, 0.75], [0.75, 0.25]]),
    "test": np.array([[0.25, 0.75], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]),
}
POINT = OperatingPoint(positive=("malignant",), threshold=0.5, sensitivity=1.0, specificity=0.5)
SETS = PredictionSets(
    coverage=0.9,
    lowest={"malignant": 0.4, "normal": 0.2},
    images={"malignant": 9, "normal": 3},
    leaked_images_used=True,
)
HISTORY: list[dict[str, Any]] = [
    {
        "epoch": epoch,
        "phase": "scratch",
        "train_loss": 1.0,
        "valid_loss": 1.0,
        "valid_accuracy": 0.5,
        "valid_balanced_accuracy": 0.5,
        "valid_macro_auroc": None,
    }
    for epoch in (1, 2, 3)
]


def reported(run: Run, *splits: Split) -> RunRecord:
    labels = {split: [sample.label for sample in SPLITS[split]] for split in splits}
    metrics: dict[str, Any] = {
        split: {
            **evaluate(PREDICTIONS[split], labels[split], CLASSES, replicates=10),
            "suspicious": suspicious_metrics(POINT, PREDICTIONS[split], np.array(labels[split]), CLASSES),
            "decisions": decision_metrics(PREDICTIONS[split], np.array(labels[split]), CLASSES, point=POINT, sets=SETS),
        }
        for split in splits
    }
    record = RunRecord(
        created="2026-01-02T03:04:05.000006+00:00",
        classes=CLASSES,
        folder_classes={},
        preprocessing=Preprocessing(size=64),
        data={"folder": "/data/scans", "leaks": LEAKS},
        synthetic=True,
        settings={},
        training={"best_epoch": 2},
        metrics=metrics,
        versions={},
        operating_point=POINT,
        prediction_sets=SETS,
    )
    write_reports(
        run,
        record,
        run.folder,
        splits=SPLITS,
        digests=DIGESTS,
        probabilities={split: PREDICTIONS[split] for split in splits},
        history=HISTORY,
    )
    return record


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "tiny").mkdir()
    return Run(tmp_path / "tiny")


def document_of(run: Run, split: Split) -> dict[str, Any]:
    text = (run.evaluation_folder / split / "evaluation.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def test_each_split_has_its_evaluation_with_the_metrics_of_the_record(run: Run) -> None:
    record = reported(run, "valid", "test")
    for split in ("valid", "test"):
        document = document_of(run, split)
        together = document["metrics"] | {name: document[name] for name in ("suspicious", "decisions")}
        assert together == json.loads(json.dumps(record.metrics[split]))
        assert not {"suspicious", "decisions"} & document["metrics"].keys()
        assert document["model"] == {
            "name": "tiny",
            "kind": "PyTorch checkpoint",
            "path": str(run.folder),
            "classes": ["malignant", "normal"],
            "synthetic": True,
            "fitted_on": "validation images",
        }
        labels = np.array([sample.label for sample in SPLITS[split]])
        expected = suspicious_metrics(POINT, PREDICTIONS[split], labels, CLASSES)
        assert document["suspicious"] == json.loads(json.dumps(expected))
        assert sorted(file.name for file in (run.evaluation_folder / split).glob("*.png")) == [
            "confusion.png",
            "reliability.png",
            "risk.png",
            "roc.png",
        ]


@pytest.mark.usefixtures("no_plots")
def test_the_reports_have_the_numbers_of_leaked_images_in_each_split(run: Run) -> None:
    reported(run, "valid", "test")
    data = {split: document_of(run, split)["data"] for split in PREDICTIONS}  # type: ignore[arg-type]
    assert data["valid"] == {
        "path": "/data/scans",
        "split": "valid",
        "images": 3,
        "trained_on_with_copies": LEAKS,
        "seen_in_training": {"trained_on": 1, "chosen_by": 3, "dropped": 0},
    }
    assert data["test"]["seen_in_training"] == {"trained_on": 1, "chosen_by": 2, "dropped": 0}
    text = (run.evaluation_folder / "test" / "report.md").read_text(encoding="utf-8")
    assert "# tiny: test images\n" in text
    assert "- **1 of these images is among those that the model was trained on: the metrics are optimistic.**\n" in text
    assert "2 of them across splits" in text


def test_without_test_images_there_is_no_report_on_them(run: Run) -> None:
    reported(run, "valid")
    assert [folder.name for folder in run.evaluation_folder.iterdir()] == ["valid"]


def test_a_resumed_trainings_reports_take_the_place_of_those_before(run: Run) -> None:
    reported(run, "valid")
    before = (run.folder / "curves.png").read_bytes()
    reported(run, "valid")
    assert (run.folder / "curves.png").read_bytes() == before
    assert sorted(file.name for file in run.folder.iterdir()) == ["curves.png", "evaluation"]


def test_the_curves_mark_the_best_epoch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def noted(history: Any, title: str, *, best_epoch: int) -> Any:
        asked.append((history, title, best_epoch))
        return plot_curves(history, title, best_epoch=best_epoch)

    monkeypatch.setattr("ctonnx_train.evaluation.report.plot_curves", noted)
    reported(run, "valid")
    assert asked == [(HISTORY, "tiny", 2)]
    with Image.open(run.folder / "curves.png") as image:
        assert image.format == "PNG"
