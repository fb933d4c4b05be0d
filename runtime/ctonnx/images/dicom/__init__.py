"""Decodes DICOM files to 8-bit images. Every module here needs the extra `[dicom]`.

hounsfield   whether the values are Hounsfield units
stored_bits  the bits of a stored value that are used
header       the invalid element of a header, and warnings about a frame
redaction    keeps values that pydicom quotes, such as patient names, out of every message
dataset      reads the dataset, whatever its encoding
identity     patient, series and position, without the pixels
decoding     stored pixels of a frame, by transfer syntax
rendering/   stored values to grey or colour
file         a DICOM file and its frames
"""
