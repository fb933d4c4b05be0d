"""Numerical parity: comparison of two models' outputs for the same pixels.

rounding          numbers as text, never rounded across a bound
intervals         the 95 % interval of a share
outputs           the three output arrays of a model
comparison        differences between the outputs of two models
acceptance_gates  bounds of these differences, for each precision and device: a model that exceeds them is not written
golden_gate       the bounds for a few golden inputs
"""
