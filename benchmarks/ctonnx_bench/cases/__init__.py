"""Models, peers, images and the cases of a benchmark.

adapters/   ctonnx and its peers behind one interface
settings    settings of a benchmark
contenders  models and peers that can run here
images      images that predictions are checked on
task        what one worker process measures
case        a case for each batch size and data path
sweep       cases of a sweep over settings
"""
