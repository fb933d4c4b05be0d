"""Datasets: labelled images, splits, copies, decoded pixels.

splits        labelled images, and splits of a dataset that has none
patients      patients of the images, and subgroups
dataset       a dataset before its images are read
sources       where images come from: files or arrays
phantom/      generated chest-CT phantoms
leakage       copies and groups across splits
layouts/      folders, MedMNIST files, labels files, and the patients in them
image_folder  reads a dataset
pixel_store   decoded images in memory
"""
