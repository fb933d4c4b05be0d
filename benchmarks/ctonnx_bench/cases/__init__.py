"""What is measured: models and peers, images, cases.

adapters/   ctonnx and its peers behind one interface
settings    settings of a benchmark
contenders  models and peers that can run here
images      images that predictions are checked on
task        what one worker process measures
case        a case for each batch size and data path
sweep       cases of a sweep over settings
"""
