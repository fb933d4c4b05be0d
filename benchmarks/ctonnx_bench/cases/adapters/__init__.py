"""Contenders of a benchmark, one small file each.

adapter        interface and list of the adapters
predictor      ctonnx
plain          onnxruntime with its defaults
openvino       OpenVINO
openvino_int8  OpenVINO's own INT8
torch_eager    PyTorch eager
torch_half     PyTorch eager in half precision
torch_compile  torch.compile
"""
