"""Plots of an evaluation.

fonts  fonts for class names in any script
plots  confusion matrix, ROC, reliability diagram, training curves
"""
