"""From an image file to pixels; no other package decodes images.

source         opens a path or the bytes of a file safely
modes          any Pillow mode to 8 bits
unsupported    names the kind of a file that is not an image, by its first bytes
raster/        PNG, JPEG, TIFF and the other formats that Pillow, tifffile or imagecodecs decode
formats        which file names and which first bytes are images
preprocessing  DICOM window, size, colour and resize rule; an image to the model's input
dicom/         DICOM files
loading        `load` and `load_frames`
origin         format and mode of the file that an image was decoded from
"""

from ctonnx.images.loading import load, load_frames
from ctonnx.images.preprocessing import Preprocessing, to_pixels

__all__ = ["Preprocessing", "load", "load_frames", "to_pixels"]
