"""ctonnx_train: from a folder of CT images to a checkpoint, with PyTorch and Lightning."""
