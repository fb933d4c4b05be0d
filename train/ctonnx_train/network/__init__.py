"""The network, its pretrained weights, and PyTorch's threads.

classifier    ResNet50 with a small multi-layer head
state_dicts   finds a ResNet50's tensors in a state dict
weight_files  reads weight files without unpickling objects
pretrained    initial weights of a training run
inference     logits of a network for the images of a store
openmp        imports PyTorch with a wait policy and core affinity for its threads
threads       number of PyTorch threads
"""
