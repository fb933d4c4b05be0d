"""Compression: from a trained run to a smaller one with the same outputs, or none if it does not agree with it.

settings        settings of `ctonnx compress`, and the shares of its steps
operations      multiplications and weights of a network
pruning         the least important channels of a network, and their removal
distillation    training of the smaller network on the outputs of its original
gate            comparison of the smaller network with its original
report          compression.md
compress        from a run to a compressed run
cli             `ctonnx compress`
"""
