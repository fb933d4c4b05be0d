"""A run's record, splits and digests, and a run folder with its splits."""

from pathlib import Path

import pytest

from ctonnx.artifacts.run import Run
from ctonnx.images import Preprocessing
from ctonnx_train.data.splits import Sample, Split
from ctonnx_train.runs.record import RunRecord
from ctonnx_train.runs.splits_file import write_splits

RECORD = RunRecord(
    created="2026-01-02T03:04:05.000006+00:00",
    classes=("adenocarcinoma", "Lungenödem"),
    folder_classes={"Ödem cases": "Lungenödem", "adenocarcinoma": "adenocarcinoma"},
    preprocessing=Preprocessing(size=64, color="rgb", resize="pad"),
    data={"folder": "/data/scans", "name": "scans", "fingerprint": "0a" * 32, "images": {"train": {"a": 1}}},
    synthetic=True,
    settings={"weights": "none", "epochs": 2},
    training={"epochs": 2, "best_epoch": 1, "best_value": 0.5},
    metrics={"valid": {"accuracy": 0.5, "macro": {"precision": None}}},
    versions={"torch": "2.15.0"},
)
SPLITS: dict[Split, tuple[Sample, ...]] = {
    "train": (Sample("train/a/scan (1).png", 0), Sample("train/Ödem cases/1.png", 1)),
    "valid": (Sample("valid/a/2.png", 0),),
    "test": (),
}
DIGESTS = {"train/a/scan (1).png": "aa", "train/Ödem cases/1.png": "bb", "valid/a/2.png": "aa", "other.png": "cc"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with its splits."""
    write_splits(Run(tmp_path), SPLITS, DIGESTS)
    return Run(tmp_path)
