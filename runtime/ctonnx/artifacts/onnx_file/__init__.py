"""Reads an .onnx file without onnxruntime and without loading its weights.

protobuf   fields of a protobuf message in a file
metadata   metadata properties, with the spec
operators  operators and limits of the graphs that are run
integrity  checksum that finds damaged files
"""
