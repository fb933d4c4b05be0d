"""Commands for datasets, training and evaluation; heavy libraries are imported when a command is called.

options      options and the log that several commands share
data         `ctonnx data`
train        `ctonnx train`
evaluate     `ctonnx evaluate`
recalibrate  `ctonnx recalibrate`
"""
