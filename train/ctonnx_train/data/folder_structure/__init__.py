"""Splits and classes, from the names and the nesting of folders.

split_names    which folder names are splits
class_names    one name for each class, however folders spell it
layout         which folders are splits, classes or neither
skipped_files  files that belong to no class, counted and reported
"""
