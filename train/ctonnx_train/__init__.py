"""Training of CT classifiers with PyTorch and Lightning, from a folder of images to an evaluated checkpoint.

data           datasets, splits, leakage, decoded pixels
audit          `ctonnx data audit`
network        the network, its pretrained weights, PyTorch's threads
runs           a trained run on disk
evaluation     metrics, calibration, reports
stress         `ctonnx evaluate --stress`: the same scans, acquired otherwise
training       `ctonnx train`: preparation, recipe, training loop
recalibration  `ctonnx recalibrate`
cli            the commands
"""
