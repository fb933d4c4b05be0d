"""Layouts of datasets: folders with splits and classes, arrays, or a labels file.

split_names      folder names of splits, folds and wrappers
class_names      canonical class names for the spellings of class folders
layout           split folders, class folders and other folders
class_folders    checks that class folders contain images of one class
skipped_files    files that belong to no class, counted and reported
medmnist         MedMNIST .npz files
labels_file      reads a CSV with a row for each image
unused_labels    finds a labels file that the user did not name
patient_sources  finds the patients: labels file, paths or DICOM headers
"""
