"""Measurements of the server under load.

load    load generator
server  latency, throughput, ready time and memory of `ctonnx serve`
"""
