"""Metrics of a model on labelled images.

statistics/      metrics, shares and tests, with their intervals
fitting/         values fitted on the validation images: temperature, operating point
evaluated_model  a checkpoint or an exported model to evaluate, and its outputs
patients/        metrics and decisions of patients, and of their subgroups
evaluate         `evaluate_model`
drawing/         confusion matrix, ROC, reliability diagram, training curves
report           an evaluation as JSON, Markdown and plots
external/        an exported model on data with other classes
"""
