"""Runs a model with onnxruntime on the requested execution provider.

cuda       settings of CUDA, and the options from them
tensorrt   options of TensorRT and its cache of engines
providers  execution providers: package, plugin, options, precisions
plugins    plugins of onnxruntime: registration, devices
diagnosis  reasons why a provider does not run on this machine, with the command that fixes it
session    opens an ONNX file as a session on one provider
runner     runs a session on batches of pixels
tuning     best settings on this device, as found by `ctonnx bench --sweep`
self_test  runs a small model on a provider and checks its outputs
"""
