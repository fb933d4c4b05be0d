"""Decodes DICOM files to 8-bit images. Every module here needs the extra `[dicom]`.

hounsfield   whether the values are Hounsfield units
stored_bits  which bits of a stored value are used
window       windows as DICOM defines them, applied to values
header       which element is invalid, and which values need a caution
redaction    keeps values that pydicom quotes, such as patient names, out of every message
dataset      reads the data set, whatever its encoding
decoding     stored pixels of a frame, by transfer syntax
file         a DICOM file and its frames
"""
