"""Commands that generate, audit and train; what they need is imported when they are called.

options   options that several commands share
data      `ctonnx data`
train     `ctonnx train`
evaluate  `ctonnx evaluate`
"""
