"""Measurements of the server under load.

load    load generator
server  latency, throughput, ready time and memory of `ctonnx serve`
pacs_node  reception, results and memory of `ctonnx node`
drift_alarms  false alarms of `ctonnx drift`, and changes that it finds
"""
