"""The network, its pretrained weights, and PyTorch's threads.

classifier    ResNet50 with a small multi-layer head
thumbnail     mean grey of 8 x 8 cells of an image
novelty       distance of an image from the training images
state_dicts   finds a ResNet50's tensors in a state dict
weight_files  reads weight files without unpickling objects
pretrained    initial weights of a training run
inference     logits and pooled features of a network for the images of a store
openmp        imports PyTorch with a wait policy and core affinity for its threads
threads       number of PyTorch threads
"""
