"""Slices to series, studies and patients.

pseudonyms  names of patients that cannot be traced back without the key
slices      place of a file in a series, from its header
ordering    order of the slices along the body
choice      one axial series of a study or patient
repeats     slices that are in several files count once
grouping    files to groups
reduction   records of slices to one prediction for a group
stream      prediction of groups one after the other
"""
