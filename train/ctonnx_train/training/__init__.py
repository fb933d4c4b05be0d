"""Training of a classifier.

recipe         settings, phases and learning rates
loop/          the Lightning training loop
preparation    a dataset to images in memory and checked splits
preview        contact sheet of augmented images
resume         plan and state of an unfinished run
results/       run.json and the reports in a run's folder
single_run     training of one network, and its files
cross_fitting  folds, each predicted by a network trained without it
train          `train` and `resume`
"""
