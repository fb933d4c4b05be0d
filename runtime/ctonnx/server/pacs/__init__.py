"""Into and out of a PACS, with the extra `pacs`; `ctonnx predict --dicom-out` and `ctonnx node` use it.

results/  predictions as DICOM objects
audit     the audit log, chained by hashes
node/     a DICOM node: series in, results out
"""
