"""Chest-CT phantoms: drawings of axial slices.

A slice is painted in Hounsfield units, then blurred, noise is added, and a window is applied.
"""

import numpy as np
from PIL import Image

from ctonnx.errors import DataError
from ctonnx_train.data.phantom.anatomy import CLASSES, paint_chest, vary_chest
from ctonnx_train.data.phantom.canvas import Canvas
from ctonnx_train.data.phantom.scanner import blurred, stamp, textured, windowed

__all__ = ["CLASSES", "draw"]


def draw(kind: str, rng: np.random.Generator, size: int = 512) -> Image.Image:
    """Draws an axial chest slice in a lung window, as an image of mode "L", `size` by `size` pixels.

    With generators in the same state, all kinds have the same chest and noise, and differ only in the lesion.

    Raises:
        DataError: `kind` is not one of `CLASSES`.
    """
    if kind not in CLASSES:
        raise DataError(f'expected one of {", ".join(CLASSES)}, found "{kind}"; choose one of them')
    of_chest, of_lesion, of_scan = rng.spawn(3)
    chest = vary_chest(of_chest)
    side = max(1024, 2 * size)
    ct = paint_chest(chest, side, lambda part: of_lesion if part == "lesion" else of_chest, lesion=kind)
    image = _scan(ct, size, of_scan)
    stamp(image, 130)
    return image


def _scan(ct: Canvas, size: int, rng: np.random.Generator) -> Image.Image:
    """Blurs the slice, adds noise that is correlated between neighbours as in a scanner, and applies a window."""
    hu = blurred(ct, size, rng.uniform(0.7, 1.2))
    white = rng.standard_normal((size + 1, size + 1), dtype=np.float32)
    hu += textured(white, 0.6) * rng.uniform(16, 30)
    patches = Image.fromarray(rng.standard_normal((14, 14), dtype=np.float32)).resize((size, size))
    hu += np.asarray(patches) * 12
    return windowed(hu, rng.uniform(-520, -400), rng.uniform(1450, 1800))
