"""Values that are fitted on the validation images, and what comes of them on others.

calibration      temperature scaling
prediction_sets  classes that an image may have, at a stated coverage
novelty          distance from the training images, and its threshold
threshold        operating point: chooses the threshold of "suspicious", and measures it
decisions        positive, negative or refer: shares, sensitivity, specificity and coverage on labelled images
usage            counts of the images that the values are fitted on, for `ctonnx drift`
lines            operating point and decisions as lines of a report
"""
