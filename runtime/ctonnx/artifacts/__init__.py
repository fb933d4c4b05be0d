"""What lies on the disk: model files, their spec, golden inputs and run folders.

json_schema      reads JSON from unknown sources into dataclasses
onnx_file/       what an .onnx file contains, read without onnxruntime
report_schema    the metrics, gates and data facts that a spec and a run's record contain
operating_point  the threshold at which an image is called suspicious
spec             the spec in an exported model's metadata
caveats          what a reader of a model's metrics has to know
golden           golden inputs with PyTorch's outputs for them
run              the folder of a training run
"""
