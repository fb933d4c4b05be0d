"""Predictions as DICOM objects.

uids               UIDs of results, from their sources and the model
codes              codes of classes and of the model's own terms
source             UIDs, patient and study of a series
document           common part of all objects of a series
report/            Comprehensive 3D SR by TID 1500
key_objects        Key Object Selection of the slices that carried a positive decision
picture            the strongest slice next to its heatmap
secondary_capture  the picture as a Secondary Capture Image
folder             objects of each series, written to a folder
"""
