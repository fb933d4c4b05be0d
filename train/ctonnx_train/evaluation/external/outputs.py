"""The outputs of an exported model for the images of a `PixelStore`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctonnx.errors import ProviderError
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx_train.data.pixel_store import PixelStore

__all__ = ["predict_rows", "rgb_pixels"]

_BATCH = 32


def predict_rows(predictor: Predictor, store: PixelStore, rows: Sequence[int]) -> Outputs:
    """Returns the outputs for at least one row of a store.

    Raises:
        ProviderError: If the outputs are not finite.
    """
    batches = []
    with tqdm(total=len(rows), desc="predicting", unit="image", leave=False, disable=None) as bar:
        for start in range(0, len(rows), _BATCH):
            outputs = predictor.predict_pixels(rgb_pixels(store, rows[start : start + _BATCH]))
            if not np.isfinite(outputs.logits).all():
                raise ProviderError(
                    f"expected finite outputs of '{predictor.path}', found others; compare it with PyTorch: ctonnx "
                    f"verify {predictor.path}"
                )
            batches.append(outputs)
            bar.update(len(outputs))
    return Outputs.concatenate(batches)


def rgb_pixels(store: PixelStore, rows: Sequence[int]) -> NDArray[np.uint8]:
    """Returns the pixels of rows as a model's input, uint8 [rows, size, size, 3]."""
    pixels = store.take(rows)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:3], 3)))
