"""Measurements of ctonnx, each a command that anyone can run.

cases        models, peers, images, cases
measurement  processes, rounds, sensors
correctness  reference outputs, and the verdict on each case
analysis     statistics, speedup, regression
experiments  measurements besides `ctonnx bench`
report       tables, charts, HTML, published results
benchmark    `ctonnx bench` from its settings to its reports
gpu          the GPU kit
cli          `ctonnx bench`
"""
