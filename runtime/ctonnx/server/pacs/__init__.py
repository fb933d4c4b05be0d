"""Into and out of a PACS, with the extra `pacs`; `ctonnx predict` and `ctonnx node` use it.

results/   predictions as DICOM objects
retrieval  a study from a DICOMweb server, image by image
audit      the audit log, chained by hashes
node/      a DICOM node: series in, results out
"""
