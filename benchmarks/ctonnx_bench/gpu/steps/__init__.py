"""Steps of the kit; each module has `run(context)`, which records values as soon as they are measured.

facts         driver, libraries, and a first computation
device_tests  tests marked `gpu`
training      speed of training, and its resume
export        FP32 and FP16
verification  golden inputs on the device
latency       latencies of ctonnx and PyTorch, provider settings, `ctonnx bench`
folder        `ctonnx predict` on a folder
server        `ctonnx serve` under load
rejections    messages of what cannot run
"""
