"""Values that are fitted on the validation images.

calibration  temperature scaling
novelty      distance from the training images, and its threshold
threshold    operating point: chooses the threshold of "suspicious", and measures it
"""
