"""Golden inputs: pixels of a few images with the outputs of PyTorch, to verify an exported model on any device.

The file also has the outputs of each exported model on the exporting machine, and the SHA-256 of its file. The
comparison with PyTorch shows whether a device's outputs are good enough, the comparison with the model's own outputs
whether the device computes the same as the exporting machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.errors import ModelError
from ctonnx.parity.outputs import Outputs
from ctonnx.system.file_reading import read_arrays, reason_of
from ctonnx.system.files import atomic_file

__all__ = ["FILE_NAME", "Golden", "load_golden", "save_golden"]

FILE_NAME = "golden.npz"
"""Name of the file with the golden inputs, in the folder of their models."""

_DIGEST = ".sha256"
_MOST = 1 << 30  # bytes of all arrays; eight images of the largest input have 400 MB


@dataclass(frozen=True, eq=False)
class Golden:
    """Golden inputs of one checkpoint.

    Attributes:
        pixels: uint8 [images, size, size, 3].
        outputs: Outputs of PyTorch.
        checkpoint_sha256: SHA-256 of the PyTorch weights.
        model_outputs: Outputs of each exported model on the exporting machine, by precision.
        model_sha256: SHA-256 of each exported model file, by precision.
    """

    pixels: NDArray[np.uint8]
    outputs: Outputs
    checkpoint_sha256: str
    model_outputs: Mapping[str, Outputs] = field(default_factory=dict)
    model_sha256: Mapping[str, str] = field(default_factory=dict)


def save_golden(file: Path, golden: Golden) -> None:
    """Writes golden inputs. Equal inputs give equal bytes."""
    arrays = {
        "pixels": golden.pixels,
        "checkpoint_sha256": np.array(golden.checkpoint_sha256),
        **golden.outputs.arrays,
        **{
            f"{precision}.{name}": array
            for precision, outputs in golden.model_outputs.items()
            for name, array in outputs.arrays.items()
        },
        **{precision + _DIGEST: np.array(digest) for precision, digest in golden.model_sha256.items()},
    }
    with atomic_file(file) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def load_golden(file: Path) -> Golden:
    """Reads golden inputs. Nothing in the file is unpickled.

    Raises:
        ModelError: If the file is missing, damaged, or of another kind.
    """
    try:
        arrays = read_arrays(file, most=_MOST)
        precisions = [name.removesuffix(_DIGEST) for name in arrays if name.endswith(_DIGEST)]
        golden = Golden(
            arrays["pixels"],
            Outputs.read(arrays),
            _text(arrays["checkpoint_sha256"]),
            {precision: Outputs.read(arrays, f"{precision}.") for precision in precisions},
            {precision: _text(arrays[precision + _DIGEST]) for precision in precisions},
        )
    except OSError as error:
        raise _unusable(file, f"that it cannot be read: {reason_of(error)}") from error
    except KeyError as error:
        raise _unusable(file, f"a file without {error}") from error
    except (ValueError, TypeError, MemoryError) as error:
        # NumPy's message is left out: for a file of another kind it recommends unpickling.
        raise _unusable(file, "a file that is damaged or of another kind") from error
    images = len(golden.pixels) if golden.pixels.ndim else 0
    if golden.pixels.dtype != np.uint8 or golden.pixels.ndim != 4 or images == 0:
        raise _unusable(file, f"pixels of {golden.pixels.dtype} {list(golden.pixels.shape)}")
    for outputs in (golden.outputs, *golden.model_outputs.values()):
        arrays_of = (outputs.probabilities, outputs.logits, outputs.heatmap)
        kinds = [(array.dtype.name, array.ndim) for array in arrays_of]
        if kinds != [("float32", 2), ("float32", 2), ("float32", 4)]:
            raise _unusable(file, "arrays of other kinds")
        shapes = [array.shape[:2] for array in arrays_of]
        if shapes != [golden.outputs.probabilities.shape] * 3 or shapes[0][0] != images:
            raise _unusable(file, "different numbers of outputs")
        if outputs.heatmap.shape != golden.outputs.heatmap.shape:
            raise _unusable(file, "heatmaps of several sizes")
        if (outputs.novelty is None) != (golden.outputs.novelty is None):
            raise _unusable(file, "novelty of some models only")
        if outputs.novelty is not None and (outputs.novelty.dtype.name, outputs.novelty.shape) != (
            "float32",
            (images,),
        ):
            raise _unusable(file, "novelty of another kind")
    return golden


def _unusable(file: Path, found: str) -> ModelError:
    return ModelError(f"expected golden inputs in '{file}', found {found}; export the model again")


def _text(array: NDArray[Any]) -> str:
    return str(array.astype(np.str_, casting="safe").item())
