"""Decodes raster images: PNG, JPEG, TIFF, JPEG 2000 and the other formats of Pillow.

tiff_directory  the fields that describe the first page of a TIFF file
tiff            samples of a TIFF file, and whether Pillow reads them correctly
jpeg2000        samples of a JPEG 2000 file, and whether Pillow reads them correctly
depth           samples of any bit depth to 8 bits
raw_samples     TIFF and JPEG 2000 samples by tifffile and imagecodecs
salvage         the image without the metadata that stop Pillow
unsupported     names the kind of a file that is not an image, by its first bytes
decoding        an open file to an 8-bit image
"""
