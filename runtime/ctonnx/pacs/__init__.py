"""Into and out of a PACS, with the extra `pacs`.

results/  predictions as DICOM objects
"""
