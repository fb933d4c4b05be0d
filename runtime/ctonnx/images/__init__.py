"""Image files to pixels; no other package decodes images.

scan           a decoded image, with a warning about it
source         opens a path or the bytes of a file safely
modes          any Pillow mode to 8 bits
raster/        PNG, JPEG, TIFF and the other formats that Pillow, tifffile or imagecodecs decode
formats        detects image files by name and first bytes
body           bounding box of the body in an image
preprocessing  crop, size, colour and resize rule, DICOM window; a decoded image to the model's input
dicom/         DICOM files
loading        `load`, `load_frames` and `load_with_origin`
"""

from typing import TYPE_CHECKING, Any

from ctonnx.images.preprocessing import Preprocessing, to_pixels

if TYPE_CHECKING:
    from ctonnx.images.loading import load, load_frames

__all__ = ["Preprocessing", "load", "load_frames", "to_pixels"]


def __getattr__(name: str) -> Any:
    """Imports `load` or `load_frames` on first use, so that a command's help loads neither NumPy nor Pillow."""
    if name not in __all__:
        raise AttributeError(f"module 'ctonnx.images' has no attribute {name!r}")
    from ctonnx.images import loading

    return getattr(loading, name)
