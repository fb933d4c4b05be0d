"""Values that are fitted on the validation images.

calibration  temperature scaling
threshold    operating point: chooses the threshold of "suspicious", and measures it
"""
