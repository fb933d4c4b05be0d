"""Files on disk: model files with their spec, golden inputs and run folders.

json_schema      reads JSON from unknown sources into dataclasses
onnx_file/       content of an .onnx file, read without onnxruntime
report_schema    types of the precisions, metrics, gates and data facts in a spec and in a run's record
decision/        the decision about an image, and what it rests on
spec             spec in the metadata of an exported model
caveats          limits of a model's metrics, in sentences
golden           golden inputs with the outputs of PyTorch and of the exported models
run              folder of a training run
provenance/      who made a model, and from what: signature and bill of materials
"""
