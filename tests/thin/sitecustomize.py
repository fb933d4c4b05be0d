"""A thin network in ResNet50's place, also in processes that tests start: Python imports this from PYTHONPATH.

ResNet50 takes most of the time of a test that trains, saves, exports or opens a network. It is itself trained in
`tests/train/training/test_train.py`, and converted and simplified in `tests/export/graph`.
"""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

__all__ = ["HERE", "thin_resnet50"]

HERE = Path(__file__).parent
"""Folder to name in PYTHONPATH."""

_THINNER = 8


def thin_resnet50(weights: None = None, **settings: Any) -> Any:
    """Returns ResNet50's stages with one block each and an eighth of its channels."""
    from torch import nn
    from torchvision.models.resnet import Bottleneck, ResNet

    class ThinResNet(ResNet):  # type: ignore[misc, unused-ignore]
        def _make_layer(self, block: Any, planes: int, *arguments: Any, **options: Any) -> nn.Sequential:
            stage: nn.Sequential = super()._make_layer(block, planes // _THINNER, *arguments, **options)
            return stage

    network = ThinResNet(Bottleneck, [1, 1, 1, 1], **settings)
    network.fc = nn.Linear(network.fc.in_features // _THINNER, 1)
    return network


class _BeforeTheClassifier:
    """Replaces torchvision's ResNet50 once the classifier's module, which imports it, is looked for."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "ctonnx_train.network.classifier":
            sys.meta_path.remove(self)
            import torchvision.models

            torchvision.models.resnet50 = thin_resnet50
        return None


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, _BeforeTheClassifier())
