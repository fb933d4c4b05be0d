"""Reads weight files, whatever their name, without unpickling objects other than tensors."""

import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from ctonnx.errors import DataError
from ctonnx.system.text import quoted

__all__ = ["read_weights"]

# First bytes of other files, and what the files are.
_SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself: git lfs pull",
    b"\x89HDF": "an HDF5 file, as Keras writes it; pass a PyTorch file",
    b"<": "a web page; download the file itself",
}
_SHOWN = 3


def read_weights(file: Path) -> object:
    """Returns the content of a weight file: tensors by name, or the structure that a training program saved.

    Its content shows whether it is a safetensors file or one of torch.save (`.pth`, `.pt`, `.bin`, `.ckpt`).

    Raises:
        DataError: The file is missing, damaged, not a weight file, or contains objects that would be unpickled.
    """
    if not file.is_file():
        raise DataError(f"expected --weights imagenet, none or a file, found no file at '{file}'")
    head = b""
    try:
        with file.open("rb") as opened:  # given a path, torch.load looks at its suffix
            head = opened.read(64)
            opened.seek(0)
            # A safetensors file begins with the length of its header, which is JSON.
            is_safetensors = head[8:9] == b"{"
            return load_file(file) if is_safetensors else torch.load(opened, map_location="cpu", weights_only=True)
    # Other files raise SafetensorError, UnpicklingError, RuntimeError, EOFError, KeyError and more.
    except Exception as error:
        if isinstance(error, PermissionError):
            found = f"a file that cannot be read ({error.strerror})"
        else:
            found = _other(file, head)
        raise DataError(
            f"expected weights (.safetensors, .pth, .pt, .bin or .ckpt) in '{file}', found {found}"
        ) from error


def _other(file: Path, head: bytes) -> str:
    for signature, what in _SIGNATURES.items():
        if head.lstrip().startswith(signature):
            return what
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any("/code/" in name for name in archive.namelist()):
                return "a TorchScript archive; save its state_dict() and pass that"
        try:
            objects = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))  # executes nothing
        except Exception:  # a zip file that torch.save did not write
            objects = []
        if names := quoted(objects[:_SHOWN]):
            return f"objects that are not unpickled ({names}); save only its state_dict() and pass that"
    return "another or a damaged file"
