"""Metrics of a model on labelled images.

metrics          metrics and their bootstrap intervals
calibration      temperature scaling
threshold        operating point: chooses the threshold of "suspicious", and measures it
mcnemar          McNemar's test for two classifiers
evaluated_model  a checkpoint or an exported model to evaluate
evaluate         `evaluate_model`
fonts            fonts for class names in any script
plots            confusion matrix, ROC, reliability diagram, training curves
report           an evaluation as JSON, Markdown and plots
"""
