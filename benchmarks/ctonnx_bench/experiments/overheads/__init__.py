"""What ctonnx adds to the network itself.

startup          start-up time of commands
predictor        `Predictor` against a bare `session.run`
harness          `ctonnx bench` against a bare loop
thread_spinning  effect of spinning threads on the next session
model_check      cost of checking a model file before it is opened
"""
