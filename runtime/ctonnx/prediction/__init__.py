"""Images in, results out.

inputs           image files of paths, folders and globs
model_selection  model file that a command uses
results          result for one image: a prediction or a failure
cautions         warnings about images that the model should not be trusted on
streaming        many images: decoding ahead, batches, order
predictor        `Predictor`
device/          checks of a model on this device
series/          slices to series, studies and patients
output/          predicts files and writes their rows and heatmaps
"""
