"""Initial weights of a training run: ImageNet, none, or a file."""

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
    """Loads the initial weights into the backbone; returns a message on the tensors if they are from a file.

    `weights` is `imagenet` (downloaded once, then cached by torch.hub), `none`, or the path of a ResNet50's weight file
    (`ctonnx_train.network.weight_files`) with any of the names in `ctonnx_train.network.state_dicts`.

    Raises:
        DataError: The download failed, or the file is missing, damaged or not a ResNet50.
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
    others = f"; not used: those {', '.join(found.others)}" if found.others else ""
    return f"weights: a ResNet50's tensors of '{weights}' {found.place}".rstrip() + others


def _download() -> dict[str, Tensor]:
    file = _PRETRAINED.url.rpartition("/")[2]
    cache = Path(torch.hub.get_dir()) / "checkpoints" / file
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_SECONDS)  # torch.hub sets none, and a firewall may drop its requests
    try:
        with redirect_stdout(sys.stderr):  # torch.hub reports its download there
            return dict(_PRETRAINED.get_state_dict(progress=True, check_hash=True, weights_only=True))
    # urllib raises URLError and others, torch.hub RuntimeError for a wrong hash, torch.load many types for bad files.
    except Exception as error:
        if cache.exists():
            raise DataError(
                f"expected the ImageNet weights in '{cache}', found another or a damaged file; remove that file, so "
                "that it is downloaded again"
            ) from error
        raise DataError(
            f"the ImageNet weights could not be downloaded ({getattr(error, 'reason', error)}); three ways out: "
            f"download {_PRETRAINED.url} on another machine and pass --weights {file}, or put that file at '{cache}', "
            "or train from scratch with --weights none"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
