"""ctonnx_export: from a checkpoint to ONNX files that have passed the parity gate."""
