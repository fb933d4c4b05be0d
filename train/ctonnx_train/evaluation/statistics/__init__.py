"""Statistics of a classifier on labelled images.

metrics  metrics and their bootstrap intervals
shares   shares of images and their intervals
mcnemar  McNemar's test for two classifiers
"""
