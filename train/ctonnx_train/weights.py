"""The weights that training starts from: ImageNet's, none, or a file's."""

import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import ResNet50_Weights

from ctonnx.errors import DataError
from ctonnx_train.network import CTClassifier

__all__ = ["IMAGENET", "NONE", "load_backbone"]

IMAGENET = "imagenet"
NONE = "none"
_PRETRAINED = ResNet50_Weights.IMAGENET1K_V2
_CONNECT_SECONDS = 30.0


def load_backbone(network: CTClassifier, weights: str) -> None:
    """Gives `network`'s backbone the weights to start from; the head stays as it was made.

    Args:
        network: changed in place.
        weights: `imagenet` (downloaded once, then cached by torch.hub), `none`, or the path of a ResNet50's
            `.safetensors`, or `.pth` as torchvision publishes them (read without unpickling objects).

    Raises:
        DataError: the download failed, or the file is missing, damaged or not a ResNet50's.
    """
    if weights == NONE:
        return
    state = _download() if weights == IMAGENET else _read(Path(weights))
    # A ctonnx checkpoint names the backbone's tensors backbone.*; torchvision's file has them bare, and a fc.* beside.
    bare = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
    wanted = network.backbone.state_dict()
    for name, tensor in wanted.items():
        if name.endswith("num_batches_tracked"):  # files from before PyTorch counted them do without
            bare.setdefault(name, tensor)
    missing = [name for name, tensor in wanted.items() if name not in bare or bare[name].shape != tensor.shape]
    if missing:
        raise DataError(
            f"expected the weights of a ResNet50 in '{weights}', found {len(missing)} of {len(wanted)} tensors missing "
            f"or of another shape ('{missing[0]}' first); give torchvision's resnet50 file or a ctonnx run's "
            "model.safetensors"
        )
    network.backbone.load_state_dict({name: bare[name] for name in wanted})


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


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise DataError(f"expected --weights imagenet, none or a file, found no file at '{file}'")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    # What is no weights file raises SafetensorError, UnpicklingError, RuntimeError, EOFError, KeyError and more.
    except Exception as error:
        found = (
            f"a file that cannot be read ({error.strerror})"
            if isinstance(error, PermissionError)
            else "something else or damage"
        )
        raise DataError(f"expected weights (.safetensors, or .pth) in '{file}', found {found}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    pairs = state.items() if isinstance(state, dict) else ()
    return {name: tensor for name, tensor in pairs if isinstance(name, str) and isinstance(tensor, Tensor)}
