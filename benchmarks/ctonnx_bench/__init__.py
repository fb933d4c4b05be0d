"""ctonnx_bench: measurements of ctonnx, each of them a command that anyone can run."""
