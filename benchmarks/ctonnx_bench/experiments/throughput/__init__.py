"""Throughput of prediction and training.

streaming   number of workers and batch size for a folder
precisions  FP16 and INT8 compared with FP32
roofline    the network compared with a bare matrix product
plain_training  plain torchvision training loop
training    training compared with timm
busy_core   training and export while another process keeps a core busy
shards      shards of a folder compared with the whole run, one of them killed and continued
path_costs  bytes and time of an image from the disk to its row, and where the bottleneck is
ray_engine  `ctonnx predict --engine ray` compared with the local engine, and the memory of its driver
"""
