"""Reads weights files, whatever they are called, and unpickles nothing but tensors."""

import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from ctonnx.errors import DataError
from ctonnx.system.text import quoted

__all__ = ["read_weights"]

# What other files begin with, and what they are.
_BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself: git lfs pull",
    b"\x89HDF": "an HDF5 file, as Keras writes it; give one of PyTorch",
    b"<": "a web page; download the file itself",
}
_SHOWN = 3


def read_weights(file: Path) -> object:
    """Returns what a weights file holds: tensors by name, or what a training program put around them.

    Args:
        file: `.safetensors`, or what torch.save wrote (`.pth`, `.pt`, `.bin`, `.ckpt`); its content decides, not its
            name.

    Raises:
        DataError: There is no such file, it is something else or damaged, or it holds objects that would be unpickled.
    """
    if not file.is_file():
        raise DataError(f"expected --weights imagenet, none or a file, found no file at '{file}'")
    head = b""
    try:
        with file.open("rb") as opened:  # of a path, torch.load looks at the ending
            head = opened.read(64)
            opened.seek(0)
            # A safetensors file begins with the length of its header, which is JSON.
            is_safetensors = head[8:9] == b"{"
            return load_file(file) if is_safetensors else torch.load(opened, map_location="cpu", weights_only=True)
    # What is no weights file raises SafetensorError, UnpicklingError, RuntimeError, EOFError, KeyError and more.
    except Exception as error:
        found = (
            f"a file that cannot be read ({error.strerror})"
            if isinstance(error, PermissionError)
            else _other(file, head)
        )
        raise DataError(
            f"expected weights (.safetensors, .pth, .pt, .bin or .ckpt) in '{file}', found {found}"
        ) from error


def _other(file: Path, head: bytes) -> str:
    for beginning, what in _BEGINNINGS.items():
        if head.lstrip().startswith(beginning):
            return what
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any("/code/" in name for name in archive.namelist()):
                return "a TorchScript archive; save its state_dict() and give that"
        try:
            objects = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))  # which runs nothing
        except Exception:  # of a zip file that torch.save did not write
            objects = []
        if objects:
            names = quoted(objects[:_SHOWN])
            return f"objects that are not unpickled ({names}); save its state_dict() alone and give that"
    return "something else or damage"
