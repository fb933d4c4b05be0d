"""A trained run on the disk.

record       run.json: settings, classes, data fingerprint, metrics
splits_file  which image was in which split
checkpoint   weights, record and splits of a run
"""
