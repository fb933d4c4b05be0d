"""Verdicts on the contenders' outputs.

judgement  compares outputs with a reference by a gate
reference  outputs of all contenders, and the reference
"""
