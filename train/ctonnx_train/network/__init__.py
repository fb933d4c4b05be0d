"""The network, its pretrained weights, and the threads that PyTorch computes in.

classifier     ResNet50 with a small multi-layer head
state_dicts    finds a ResNet50's tensors in a state dict
weight_files   reads weight files without unpickling objects
pretrained     weights that training starts from
inference      logits of a network for the images of a store
openmp         waiting policy and core affinity of OpenMP threads
torch_loading  imports PyTorch with these settings
threads        number of threads that PyTorch computes in
"""
