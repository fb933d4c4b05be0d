"""Stored values of a DICOM frame to 8-bit grey or colour.

window     DICOM's window functions
greyscale  rescale, window or VOI LUT, padding
"""
