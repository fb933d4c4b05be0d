"""ONNX graphs: conversion from PyTorch, simplification, FP16.

sessions        onnxruntime sessions and threads of an export
deploy_graph    the network as it is deployed, from pixels to probabilities and heatmaps
execution       outputs of a model for batches of pixels, in PyTorch or onnxruntime
conversion      deploy graph to ONNX
simplification  onnxsim in a process of its own, with a check of its result
backbone        the nodes that FP16 and INT8 convert
fp16            FP16
"""
