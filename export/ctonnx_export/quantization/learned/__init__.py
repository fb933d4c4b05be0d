"""INT8 that learns: the weights and scales of a QDQ graph, trained on the outputs of its FP32 original.

integers           integers in float32, rounded as by onnxruntime, with gradients
operators          operators of a QDQ graph in PyTorch
fake_quantization  a QDQ graph as a PyTorch module with trainable weights and scales, and back
fine_tuning        the training
exactness          comparison of the module with onnxruntime on the graph that was written from it
selection          choice between the trained and the plain candidate, and what judges it
learn              all of it, for a candidate of the search
"""
