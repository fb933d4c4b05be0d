"""Training of a classifier.

recipe       settings, phases and learning rates
loop/        the Lightning training loop
preparation  a dataset to images in memory and checked splits
preview      contact sheet of augmented images
resume       plan and state of an unfinished run
novelty      the distance from the training images and its threshold
results/     run.json and the reports in a run's folder
train        `train` and `resume`
"""
