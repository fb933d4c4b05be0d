"""Programs that classify a folder, with and without ctonnx; each is a package that runs as a module.

peer         arguments and output that the programs share
ctonnx       `ctonnx predict`, step by step
pytorch      PyTorch eager
ultralytics  Ultralytics
optimum      Optimum
"""
