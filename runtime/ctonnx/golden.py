"""Golden inputs: a few images' pixels with PyTorch's answers, by which an exported model can prove itself again."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

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
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            golden = Golden(
                arrays["pixels"],
                Outputs(*(arrays[name] for name in OUTPUT_NAMES)),
                arrays["checkpoint_sha256"].astype(np.str_, casting="safe").item(),
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, TokenError) as error:
        raise ModelError(f"expected golden inputs in '{file}', found {error!r}; export the model again") from error
    arrays = (golden.outputs.probabilities, golden.outputs.logits, golden.outputs.heatmap)
    kinds = [(golden.pixels.dtype, golden.pixels.ndim), *((array.dtype, array.ndim) for array in arrays)]
    if kinds != [(np.uint8, 4), (np.float32, 2), (np.float32, 2), (np.float32, 4)]:
        raise ModelError(f"expected golden inputs in '{file}', found arrays of other kinds; export the model again")
    if {len(array) for array in arrays} != {len(golden.pixels)}:
        raise ModelError(f"expected golden inputs in '{file}', found other numbers of answers; export the model again")
    return golden
