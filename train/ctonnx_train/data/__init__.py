"""Datasets: labelled images, splits, copies, decoded pixels.

splits           labelled images, and splits of a dataset that has none
patients         patients of the images, and subgroups
dataset          a dataset before its images are read
sources          where images come from: files or arrays
phantom/         generated chest-CT phantoms
layouts/         reads a dataset: folders, a MedMNIST file or a labels file
pixel_store      decoded images in memory
leakage          copies and groups across splits
patient_sources  finds the patients: labels file, paths or DICOM headers
"""
