"""Fixtures of the train package's tests: folders of small images, and a small backbone where ResNet50 is not needed."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from PIL import Image

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Computes in one thread: on a busy machine the small steps of these tests would wait for the others."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def images_in() -> ImagesIn:
    """A function that writes grey 40 x 40 PNG images, no two alike, into folders below a root, and returns the root."""

    def write(root: Path, counts: Mapping[str, int]) -> Path:
        for position, (folder, count) in enumerate(counts.items()):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.random.default_rng([position, number]).integers(0, 256, (40, 40), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"scan {number}.png")
        return root

    return write


@pytest.fixture
def small_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives `CTClassifier` a residual network of four blocks: ResNet50's stages at a tenth of the work."""
    from torchvision.models.resnet import BasicBlock, ResNet

    def resnet(weights: None, **settings: Any) -> Any:
        return ResNet(BasicBlock, [1, 1, 1, 1], **settings)

    monkeypatch.setattr("ctonnx_train.network.resnet50", resnet)
