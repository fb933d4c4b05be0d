"""Counters of what is predicted, their log, and whether the images or the predictions have changed.

metrics      counters and histograms for Prometheus
usage_log    counts of each day in an SQLite file, with nothing of a patient
two_sample   exact tests of whether two sets of counts have the same distribution
drift        a part of the log, compared with the images that the model was fitted on
drift_plot   the comparison as a picture
"""
