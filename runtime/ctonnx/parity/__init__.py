"""Numerical parity: whether two models give the same outputs for the same pixels.

rounding     numbers as text, never rounded to the better side of a bound
outputs      the three output arrays of a model
comparison   compares the outputs of two models
gates        bounds that a comparison must keep, for each precision and device
golden_gate  the same bounds for a few golden inputs
"""
