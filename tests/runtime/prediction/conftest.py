"""Fixtures: an opened model, phantoms, images of noise, and a file that is not an image."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctonnx.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(model: Path) -> Iterator[Predictor]:
    with Predictor(model) as opened:
        yield opened


@pytest.fixture(scope="module")
def scans(phantoms: Path) -> list[str]:
    """Eight images, two of each class."""
    found = [str(path) for path in sorted((phantoms / "test").rglob("*.png"))]
    assert len(found) == 8
    return found


@pytest.fixture
def no_image(tmp_path: Path) -> Path:
    file = tmp_path / "notes.png"
    file.write_bytes(b"")
    return file


@pytest.fixture(scope="module")
def noise_scans(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Sixteen different images of noise."""
    folder = tmp_path_factory.mktemp("scans")
    noise = np.random.default_rng(1).integers(0, 256, (16, 70, 90)).astype(np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return sorted(map(str, folder.iterdir()))
