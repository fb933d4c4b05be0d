"""Generated, labelled chest-CT phantoms.

drift         draws that change slowly along a body
canvas        a slice to paint on, in Hounsfield units
anatomy       chests with and without lesions, at one level
scanner       kernels, noise, and the window of an 8-bit image
drawing       single axial slices
patient       patients with slices of one anatomy, by one scanner
dicom_series  the study of a patient as DICOM files
phantom_set   datasets of single slices, in the layout of the public Kaggle set
patient_set   datasets with patients, as PNG files or as a hospital's DICOM export
"""
