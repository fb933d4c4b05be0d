"""`ctonnx bench --family`: exports of one network, compressed in different ways, against each other.

members     models and their names
images      images that the models are compared on
comparison  agreement and accuracy of each model against the first
front       Pareto front
document    `run_family`: measured models, and the comparison of each with the first
tables      terminal table and Markdown
labels      places for the labels of a plot, without overlaps
plot        plot of accuracy against latency
workflow    a family from its settings to its reports
"""
