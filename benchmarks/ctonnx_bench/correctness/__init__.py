"""Checks predictions before and while they are timed.

judgement  checks predictions against a reference and a gate
reference  predictions of all contenders, and the reference
"""
