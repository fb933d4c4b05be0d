"""The decision about an image, `positive`, `negative` or `refer`, and what it rests on.

operating_point  threshold at which an image is called suspicious
prediction_sets  classes that an image may have, at a stated coverage
novelty          distance of an image from the training images, and its threshold
brightness       range of the mean grey value of the images that a model was fitted on
rule             the decision and its reason
patient_rule     one decision from the scores of a patient's slices
usage            counts of what a model was given and predicted, in fixed bins
shortcuts        facts of the training images that predict the class, in sentences
"""
