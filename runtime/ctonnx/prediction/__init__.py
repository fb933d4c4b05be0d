"""Images in, results out.

inputs           lists the image files of paths, folders and globs
model_selection  which model file a command means
results          the result of one image: a prediction or a failure
cautions         images that can be read and that no model should be trusted on
predictor        `Predictor`
verification     replays golden inputs on this device
output/          rows and heatmaps of `ctonnx predict`
"""
