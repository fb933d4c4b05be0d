"""Golden inputs: a few images' pixels with PyTorch's answers, by which an exported model can prove itself again.

Beside PyTorch's answers stand those of each exported model where it was made, and its file's SHA-256: PyTorch's tell
whether a device's answers are good enough, the model's own whether the device computes what the other one computed.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.errors import ModelError
from ctonnx.outputs import OUTPUT_NAMES, Outputs
from ctonnx.writing import whole_file

__all__ = ["FILE_NAME", "Golden", "load_golden", "save_golden"]

FILE_NAME = "golden.npz"
"""The golden inputs' file, beside the models that they belong to."""

_DIGEST = ".sha256"


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden inputs of one checkpoint.

    Attributes:
        pixels: uint8 [images, size, size, 3].
        outputs: what PyTorch answered for them.
        checkpoint_sha256: of the weights that answered.
        answers: what each exported model answered where it was made, by its precision.
        model_sha256: of each exported model's file, by its precision.
    """

    pixels: NDArray[np.uint8]
    outputs: Outputs
    checkpoint_sha256: str
    answers: Mapping[str, Outputs] = field(default_factory=dict)
    model_sha256: Mapping[str, str] = field(default_factory=dict)


def save_golden(file: Path, golden: Golden) -> None:
    """Writes golden inputs; the same ones always give the same bytes."""
    arrays = {
        "pixels": golden.pixels,
        "checkpoint_sha256": np.array(golden.checkpoint_sha256),
        **{name: getattr(golden.outputs, name) for name in OUTPUT_NAMES},
        **{
            f"{precision}.{name}": getattr(outputs, name)
            for precision, outputs in golden.answers.items()
            for name in OUTPUT_NAMES
        },
        **{precision + _DIGEST: np.array(digest) for precision, digest in golden.model_sha256.items()},
    }
    with whole_file(file) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def load_golden(file: Path) -> Golden:
    """Reads golden inputs; nothing in the file is unpickled.

    Raises:
        ModelError: the file is missing, damaged or holds something else.
    """
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            precisions = [name.removesuffix(_DIGEST) for name in arrays.files if name.endswith(_DIGEST)]
            golden = Golden(
                arrays["pixels"],
                _outputs(arrays),
                _text(arrays["checkpoint_sha256"]),
                {precision: _outputs(arrays, f"{precision}.") for precision in precisions},
                {precision: _text(arrays[precision + _DIGEST]) for precision in precisions},
            )
    except (OSError, KeyError) as error:
        raise ModelError(f"expected golden inputs in '{file}', found {error!r}; export the model again") from error
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, TokenError) as error:
        # NumPy's own words are left out: of a file that is none of its own they advise to unpickle it.
        raise ModelError(
            f"expected golden inputs in '{file}', found a file that is damaged or of another kind "
            f"({type(error).__name__}); export the model again"
        ) from error
    for outputs in (golden.outputs, *golden.answers.values()):
        answers = (outputs.probabilities, outputs.logits, outputs.heatmap)
        kinds = [(array.dtype.name, array.ndim) for array in (golden.pixels, *answers)]
        if kinds != [("uint8", 4), ("float32", 2), ("float32", 2), ("float32", 4)]:
            raise ModelError(f"expected golden inputs in '{file}', found arrays of other kinds; export the model again")
        if {len(array) for array in answers} != {len(golden.pixels)}:
            raise ModelError(
                f"expected golden inputs in '{file}', found other numbers of answers; export the model again"
            )
    return golden


def _outputs(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> Outputs:
    return Outputs(*(arrays[prefix + name] for name in OUTPUT_NAMES))


def _text(array: NDArray[Any]) -> str:
    return str(array.astype(np.str_, casting="safe").item())
