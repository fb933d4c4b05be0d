"""Contenders of a benchmark, one small file each.

adapter        interface and list of the adapters
predictor      ctonnx
plain          onnxruntime with its defaults
openvino       OpenVINO
openvino_int8  OpenVINO's own INT8
torch_network  PyTorch eager and torch.compile, in FP32 and FP16
torch_graph    PyTorch FP16 as a CUDA graph
"""
