"""Metrics of a model on labelled images.

metrics          metrics and their bootstrap intervals
shares           shares of images and their intervals
fitting/         values fitted on the validation images: temperature, operating point
mcnemar          McNemar's test for two classifiers
evaluated_model  a checkpoint or an exported model to evaluate, and its outputs
evaluate         `evaluate_model`
drawing/         confusion matrix, ROC, reliability diagram, training curves
report           an evaluation as JSON, Markdown and plots
external/        an exported model on data with other classes
"""
