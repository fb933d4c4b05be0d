"""The weights that training starts from: ImageNet's, none, or a file's."""

import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import ResNet50_Weights

from ctonnx.errors import DataError
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.state_dicts import NoBackbone, find_backbone
from ctonnx_train.network.weight_files import read_weights

__all__ = ["IMAGENET", "NONE", "load_backbone"]

IMAGENET = "imagenet"
NONE = "none"
_PRETRAINED = ResNet50_Weights.IMAGENET1K_V2
_CONNECT_SECONDS = 30.0


def load_backbone(network: CTClassifier, weights: str) -> str | None:
    """Gives `network`'s backbone the weights to start from; the head stays as it was made.

    Args:
        network: Changed in place.
        weights: `imagenet` (downloaded once, then cached by torch.hub), `none`, or the path of a ResNet50's weights
            (`ctonnx_train.network.weight_files`) under any of the names in `ctonnx_train.network.state_dicts`.

    Returns:
        A sentence on what was taken from a file; None where there is none.

    Raises:
        DataError: The download failed, or the file is missing, damaged or not a ResNet50's.
    """
    if weights == NONE:
        return None
    content = _download() if weights == IMAGENET else read_weights(Path(weights))
    try:
        found = find_backbone(content, network.backbone.state_dict())
    except NoBackbone as error:
        raise DataError(
            f"expected the weights of a ResNet50 in '{weights}', found {error}; give torchvision's resnet50 file, "
            "another ResNet50's, or a ctonnx run's model.safetensors"
        ) from None
    network.backbone.load_state_dict(dict(found.tensors))
    if weights == IMAGENET:
        return None
    others = f"; not taken: those {', '.join(found.others)}" if found.others else ""
    return f"weights: a ResNet50's tensors of '{weights}' {found.place}".rstrip() + others


def _download() -> dict[str, Tensor]:
    file = _PRETRAINED.url.rpartition("/")[2]
    cache = Path(torch.hub.get_dir()) / "checkpoints" / file
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_SECONDS)  # torch.hub sets none, and a firewall may swallow what it asks
    try:
        with redirect_stdout(sys.stderr):  # where torch.hub says what it downloads
            return dict(_PRETRAINED.get_state_dict(progress=True, check_hash=True, weights_only=True))
    # urllib raises URLError and more, torch.hub RuntimeError for a wrong hash, torch.load whatever damage brings about.
    except Exception as error:
        if cache.exists():
            raise DataError(
                f"expected the ImageNet weights in '{cache}', found something else or damage; remove that file, so "
                "that it is downloaded again"
            ) from error
        raise DataError(
            f"the ImageNet weights could not be downloaded ({getattr(error, 'reason', error)}); three ways out: "
            f"download {_PRETRAINED.url} on another machine and pass --weights {file}, or put that file at '{cache}', "
            "or train from scratch with --weights none"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
