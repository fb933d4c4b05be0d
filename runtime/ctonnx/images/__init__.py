"""Image files to pixels; no other package decodes images.

scan           a decoded image, with a warning about it
source         opens a path or the bytes of a file safely
modes          any Pillow mode to 8 bits
unsupported    names the kind of a file that is not an image, by its first bytes
raster/        PNG, JPEG, TIFF and the other formats that Pillow, tifffile or imagecodecs decode
formats        detects image files by name and first bytes
preprocessing  size, colour and resize rule, DICOM window; a decoded image to the model's input
dicom/         DICOM files
loading        `load`, `load_frames` and `load_with_origin`
"""

from ctonnx.images.loading import load, load_frames
from ctonnx.images.preprocessing import Preprocessing, to_pixels

__all__ = ["Preprocessing", "load", "load_frames", "to_pixels"]
