"""Trains a classifier and writes a run.

recipe       settings, phases and learning rates
loop/        the Lightning training loop
preparation  a dataset to images in memory and checked splits
preview      contact sheet of augmented images
resume       what an unfinished run keeps so that it can be resumed
report       reports in a run's folder
train        `train` and `resume`
"""
