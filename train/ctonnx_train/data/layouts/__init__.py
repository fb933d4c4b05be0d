"""Layouts of datasets: folders with splits and classes, or arrays.

split_names    folder names of splits, folds and wrappers
class_names    canonical class names for the spellings of class folders
layout         split folders, class folders and other folders
class_folders  checks that class folders contain images of one class
skipped_files  files that belong to no class, counted and reported
medmnist       MedMNIST .npz files
image_folder   reads a dataset folder
"""
