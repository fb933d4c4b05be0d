"""Reads an .onnx file without onnxruntime and without loading its weights.

protobuf   walks over a protobuf message in a file
metadata   metadata properties
operators  which operators a graph may contain
integrity  checksum that finds damaged files
"""
