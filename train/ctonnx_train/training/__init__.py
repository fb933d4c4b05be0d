"""Training of a classifier.

recipe       settings, phases and learning rates
loop/        the Lightning training loop
preparation  a dataset to images in memory and checked splits
preview      contact sheet of augmented images
resume       plan and state of an unfinished run
novelty      the distance from the training images and its threshold
run_record   calibration, metrics and run.json
report       reports in a run's folder
train        `train` and `resume`
"""
