"""Throughput of prediction and training.

streaming   best number of workers and batch size for a folder
precisions  FP16 and INT8 against FP32
roofline    the network against a bare matrix product
training    training beside timm
busy_core   training and export beside a busy core
"""
