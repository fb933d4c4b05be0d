"""Overheads of ctonnx over the network itself.

startup          cold start of commands
predictor        `Predictor` compared with a bare `session.run`
harness          `ctonnx bench` compared with a bare loop
thread_spinning  effect of spinning threads on another session
model_check      cost of checking a model file before it is opened
"""
