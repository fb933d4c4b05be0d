"""Training on MedMNIST files and on folders with copies: the run's record and metrics."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from ctonnx.images import Preprocessing
from ctonnx_train.runs.checkpoint import load_checkpoint
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.train import train

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

SMALL = Preprocessing(size=32)
QUICK = TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32")

pytestmark = pytest.mark.usefixtures("on_the_cpu")


@pytest.mark.usefixtures("small_backbone", "no_plots")
def test_a_medmnist_file_is_trained_on_from_end_to_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for name, images in (("train", 12), ("val", 4), ("test", 4)):
        labels = np.arange(images) % 2
        pixels = rng.integers(0, 60, (images, 28, 28), dtype=np.uint8)
        pixels[labels == 1] += 190
        arrays |= {f"{name}_images": pixels, f"{name}_labels": labels[:, None]}
    np.savez(tmp_path / "organmnist.npz", **arrays)
    lines: list[str] = []
    made = train(
        tmp_path / "organmnist.npz",
        settings=replace(QUICK, epochs=4),
        preprocessing=SMALL,
        class_names={"0": "normal"},
        root=tmp_path / "runs",
        log=lines.append,
    )
    assert re.fullmatch(r"organmnist-\d{8}-\d{6}", made.run.name)
    assert lines[:4] == [
        "class folder '0' is read as 'normal'",
        "train: 12 images (normal 6, 1 6)",
        "valid: 4 images (normal 2, 1 2)",
        "test: 4 images (normal 2, 1 2)",
    ]
    checkpoint = load_checkpoint(made.run)
    assert checkpoint.record.classes == ("normal", "1")
    assert checkpoint.record.data["name"] == "organmnist"
    assert [sample.path for sample in checkpoint.samples("valid")] == [f"val_images/{row}" for row in range(4)]
    assert checkpoint.record.operating_point is not None
    assert checkpoint.record.operating_point.positive == ("1",)


@pytest.mark.usefixtures("small_backbone", "no_plots")
def test_leaks_are_in_the_record_and_in_every_report(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 3, "train/b": 3, "valid/a": 2, "valid/b": 1, "test/a": 1})
    shutil.copy(root / "train/a/scan 0.png", root / "valid/a/copy.png")
    kept = train(root, settings=QUICK, preprocessing=SMALL, name="kept", root=tmp_path / "runs")
    dropped = train(
        root, settings=replace(QUICK, drop_leaks=True), preprocessing=SMALL, name="cut", root=tmp_path / "runs"
    )
    for made, images, out in ((kept, 4, {}), (dropped, 3, {"train": 0, "valid": 1, "test": 0})):
        leaks = made.record.data["leaks"]
        assert (leaks["files_across_splits"], leaks["leaked"], leaks["dropped"]) == (2, {"valid": 1, "test": 0}, out)
        assert made.record.metrics["valid"]["images"] == images
        for split in ("valid", "test"):
            text = (made.run.evaluation_folder / split / "evaluation.json").read_text(encoding="utf-8")
            assert json.loads(text)["data"]["trained_on_with_copies"] == leaks
