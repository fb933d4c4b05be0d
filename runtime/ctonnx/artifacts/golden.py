"""Golden inputs: a few images' pixels with PyTorch's answers, by which an exported model can prove itself again.

Beside PyTorch's answers stand those of each exported model where it was made, and its file's SHA-256: PyTorch's tell
whether a device's answers are good enough, the model's own whether the device computes what the other one computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.errors import ModelError
from ctonnx.parity.outputs import OUTPUT_NAMES, Outputs
from ctonnx.system.file_reading import read_arrays, reason_of
from ctonnx.system.files import atomic_file

__all__ = ["FILE_NAME", "Golden", "load_golden", "save_golden"]

FILE_NAME = "golden.npz"
"""The golden inputs' file, beside the models that they belong to."""

_DIGEST = ".sha256"
_MOST = 1 << 30  # bytes of the arrays: eight images of the largest input are 400 MB


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
    with atomic_file(file) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def load_golden(file: Path) -> Golden:
    """Reads golden inputs; nothing in the file is unpickled.

    Raises:
        ModelError: The file is missing, damaged or holds something else.
    """
    try:
        arrays = read_arrays(file, most=_MOST)
        precisions = [name.removesuffix(_DIGEST) for name in arrays if name.endswith(_DIGEST)]
        golden = Golden(
            arrays["pixels"],
            _outputs(arrays),
            _text(arrays["checkpoint_sha256"]),
            {precision: _outputs(arrays, f"{precision}.") for precision in precisions},
            {precision: _text(arrays[precision + _DIGEST]) for precision in precisions},
        )
    except OSError as error:
        raise ModelError(
            f"expected golden inputs in '{file}', found that it cannot be read: {reason_of(error)}; export the model "
            "again"
        ) from error
    except KeyError as error:
        raise ModelError(
            f"expected golden inputs in '{file}', found a file without {error}; export the model again"
        ) from error
    except (ValueError, TypeError, MemoryError) as error:
        # NumPy's own words are left out: of a file that is none of its own they advise to unpickle it.
        raise ModelError(
            f"expected golden inputs in '{file}', found a file that is damaged or of another kind; export the model "
            "again"
        ) from error
    images = len(golden.pixels) if golden.pixels.ndim else 0
    if golden.pixels.dtype != np.uint8 or golden.pixels.ndim != 4 or images == 0:
        raise ModelError(
            f"expected golden inputs in '{file}', found pixels of {golden.pixels.dtype} {list(golden.pixels.shape)}; "
            "export the model again"
        )
    for outputs in (golden.outputs, *golden.answers.values()):
        answers = (outputs.probabilities, outputs.logits, outputs.heatmap)
        kinds = [(array.dtype.name, array.ndim) for array in answers]
        if kinds != [("float32", 2), ("float32", 2), ("float32", 4)]:
            raise ModelError(f"expected golden inputs in '{file}', found arrays of other kinds; export the model again")
        shapes = [array.shape[:2] for array in answers]
        if shapes != [golden.outputs.probabilities.shape] * 3 or shapes[0][0] != images:
            raise ModelError(
                f"expected golden inputs in '{file}', found other numbers of answers; export the model again"
            )
        if outputs.heatmap.shape != golden.outputs.heatmap.shape:
            raise ModelError(
                f"expected golden inputs in '{file}', found heatmaps of several sizes; export the model again"
            )
    return golden


def _outputs(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> Outputs:
    return Outputs(*(arrays[prefix + name] for name in OUTPUT_NAMES))


def _text(array: NDArray[Any]) -> str:
    return str(array.astype(np.str_, casting="safe").item())
