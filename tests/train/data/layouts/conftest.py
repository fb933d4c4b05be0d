"""A dataset folder with one image in each of its class folders."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.train.conftest import ImagesIn


@pytest.fixture
def laid_out(images_in: ImagesIn, tmp_path: Path) -> Callable[..., Path]:
    """A function that puts an image into each of the folders and returns their root."""
    return lambda *folders: images_in(tmp_path / "data", dict.fromkeys(folders, 1))
