"""ONNX graphs: conversion from PyTorch, simplification, FP16.

sessions        onnxruntime sessions of an export, and their threads
deploy_graph    the deployed network, from pixels to probabilities and heatmaps
original        the PyTorch module of an export: a run's network, or those of its folds
execution       outputs of a model for batches of pixels, from PyTorch or onnxruntime
conversion      the deploy graph as an ONNX model
simplification  onnxsim in a separate process, with a check of its result
backbone        the nodes that FP16 and INT8 convert
fp16            the backbone in half precision
"""
