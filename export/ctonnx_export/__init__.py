"""From a checkpoint to ONNX files that have passed the parity gate.

graph         ONNX graphs: conversion, simplification, FP16
image_sets    calibration, comparison and golden images
trial         one candidate, compared with FP32
quantization  INT8: calibration, schemes, search
models        FP32, FP16 and INT8 of a run
report        report.json, report.md, model card
triton        model repository for Triton
export        `export_run`
cli           `ctonnx export`
"""
