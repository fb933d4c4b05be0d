"""Golden inputs: a few images' pixels with PyTorch's answers, by which an exported model can prove itself again."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctonnx.errors import ModelError
from ctonnx.outputs import OUTPUT_NAMES, Outputs
from ctonnx.writing import whole_file

__all__ = ["FILE_NAME", "Golden", "load_golden", "save_golden"]

FILE_NAME = "golden.npz"
"""The golden inputs' file, beside the models that they belong to."""


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden inputs of one checkpoint.

    Attributes:
        pixels: uint8 [images, size, size, 3].
        outputs: what PyTorch answered for them.
        checkpoint_sha256: of the weights that answered.
    """

    pixels: NDArray[np.uint8]
    outputs: Outputs
    checkpoint_sha256: str


def save_golden(file: Path, golden: Golden) -> None:
    """Writes golden inputs; the same ones always give the same bytes."""
    arrays = {name: getattr(golden.outputs, name) for name in OUTPUT_NAMES}
    with whole_file(file) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(
            handle, pixels=golden.pixels, checkpoint_sha256=np.array(golden.checkpoint_sha256), **arrays
        )


def load_golden(file: Path) -> Golden:
    """Reads golden inputs; nothing in the file is unpickled.

    Raises:
        ModelError: the file is missing, damaged or holds something else.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return Golden(
                arrays["pixels"],
                Outputs(*(arrays[name] for name in OUTPUT_NAMES)),
                str(arrays["checkpoint_sha256"]),
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"expected golden inputs in '{file}', found {error!r}; export the model again") from error
