"""Experiments in addition to `ctonnx bench`; each is a command: `python -m ctonnx_bench.experiments...`.

scans        PNG scans for the experiments
overheads/   start-up, predictor, harness, thread spinning, model check
throughput/  streaming, precisions, roofline, training, busy core
serving/     server and its load generator
end_to_end/  whole processes on a folder, compared with peers
"""
