"""The novelty of a trained network: the images that it is fitted on, and those that are flagged."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ctonnx.images import Preprocessing
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.network.thumbnail import thumbnails
from ctonnx_train.training.preparation import Prepared, prepare
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.results.novelty import fit_novelty

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

SETTINGS = TrainSettings(weights="none", epochs=1, positive=("b",), novelty_quantile=0.5)
FITTED = SimpleNamespace(device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def pixels_as_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose features are the image's thumbnail."""

    def features(network: None, store: PixelStore, rows: Sequence[int], **options: object) -> NDArray[np.float32]:
        return thumbnails(store.take(rows)).astype(np.float32)

    monkeypatch.setattr("ctonnx_train.training.results.novelty.predict_features", features)


def prepared_from(root: Path) -> Prepared:
    return prepare(read_data(root), SETTINGS, Preprocessing(size=32), lambda line: None)


def test_training_images_count_once_and_leaked_validation_images_do_not(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 6, "train/b": 6, "valid/a": 4, "valid/b": 4, "test/b": 3})
    first = next(iter(sorted((root / "train/a").iterdir())))
    shutil.copy(first, root / "train/a" / f"copy-{first.name}")
    shutil.copy(first, root / "valid/a" / f"copy-{first.name}")
    found = fit_novelty(cast("Any", None), cast("Any", FITTED), prepared_from(root), SETTINGS, print)
    assert found is not None
    assert (found.threshold.training_images, found.threshold.images) == (12, 8)
    assert found.threshold.quantile == 0.5
    assert not found.threshold.leaked_images_used
    assert {split: len(flags) for split, flags in found.flags.items()} == {"valid": 9, "test": 3}
    assert 1 <= found.flags["valid"].sum() <= 4


def test_training_copies_with_different_labels_are_left_out(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 6, "train/b": 6, "valid/a": 4, "valid/b": 4})
    first, second, *_ = sorted((root / "train/a").iterdir())
    shutil.copy(first, root / "train/b" / f"copy-{first.name}")
    shutil.copy(second, root / "valid/b" / f"copy-{second.name}")
    found = fit_novelty(cast("Any", None), cast("Any", FITTED), prepared_from(root), SETTINGS, print)
    assert found is not None
    assert found.threshold.training_images == 10


def test_copies_with_different_labels_are_used_if_a_class_has_no_others(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 6, "train/b": 1, "valid/a": 4, "valid/b": 4})
    (only,) = (root / "train/b").iterdir()
    shutil.copy(only, root / "valid/a" / f"copy-{only.name}")
    first, *_ = sorted((root / "train/a").iterdir())
    shutil.copy(first, root / "valid/b" / f"copy-{first.name}")  # its class has others
    found = fit_novelty(cast("Any", None), cast("Any", FITTED), prepared_from(root), SETTINGS, print)
    assert found is not None
    assert found.threshold.training_images == 6


def test_labels_of_test_images_have_no_part_in_the_fit(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 6, "train/b": 6, "valid/a": 4, "valid/b": 4, "test/b": 3})
    first, *_ = sorted((root / "train/a").iterdir())
    shutil.copy(first, root / "test/b" / f"copy-{first.name}")
    found = fit_novelty(cast("Any", None), cast("Any", FITTED), prepared_from(root), SETTINGS, print)
    assert found is not None
    assert found.threshold.training_images == 12


def test_too_few_training_images_are_logged(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 1, "train/b": 1, "valid/a": 1, "valid/b": 1})
    lines: list[str] = []
    assert fit_novelty(cast("Any", None), cast("Any", FITTED), prepared_from(root), SETTINGS, lines.append) is None
    assert lines == ["no novelty: it needs more training images, which differ"]
